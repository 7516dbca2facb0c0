"""Requests and replies that are too large for one message are sent in pieces, and all limits apply to them."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

import lookalike
from lookalike import pieces, wire
from lookalike.v1 import collection_pb2, pieces_pb2, search_pb2, types_pb2
from lookalike_server.common.limits import MIB, Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.common.settings import Listen
from lookalike_server.transport.tokens import new_token

CODE = grpc.StatusCode
SEARCH, UPSERT = "/lookalike.v1.SearchService/Search", "/lookalike.v1.UpdateService/Upsert"
# Small messages, so that a few MiB are too large for one.
SMALL = Limits(max_unary_bytes=2 * MIB, max_message_bytes=16 * MIB)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def picture(number: int = 7, size: int = 5 * MIB) -> bytes:
    """Return bytes that stand for a large image; see `network`."""
    return b"x" * (size - 1) + str(number).encode()


@pytest.fixture
def network(make_embedder) -> Callable[[Any], Any]:
    """Open a network that embeds by the last byte of each image."""

    def opened(toy: Any) -> Any:
        embedder = make_embedder(toy)
        embed = embedder.embed
        embedder.embed = lambda files: embed([file[-1:] for file in files])
        return lambda reader, space: embedder

    return opened


def searching(data: bytes) -> bytes:
    query = types_pb2.QueryBatch(images=types_pb2.Images(data=[data]))
    return search_pb2.SearchRequest(query=query, k=3).SerializeToString()


async def call(served: Any, path: str, sent: Sequence[bytes], metadata: Mapping[str, str] | None = None) -> bytes:
    """Call a method in pieces; `metadata` overrides the usual metadata."""
    said = dict(pieces.metadata(path, sum(map(len, sent)))) | (metadata or {})
    requests = (pieces_pb2.CallRequest(data=piece).SerializeToString() for piece in sent)

    def asked() -> bytes:
        # Not in the loop: there gRPC loses the status of a call that ends before everything was sent.
        with grpc.insecure_channel(served.app.address) as channel:
            carrier = channel.stream_stream(pieces.METHOD)
            return pieces.reply_of(carrier(requests, metadata=tuple(said.items()), timeout=60))

    return await asyncio.to_thread(asked)


@asynccontextmanager
async def unfinished(served: Any, count: int, size: int) -> AsyncIterator[list[Any]]:
    """Run calls on one connection that send the first MiB of a request in pieces, and no more."""
    async with grpc.aio.insecure_channel(served.app.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        carrier = channel.stream_stream(pieces.METHOD)
        calls = [carrier(metadata=pieces.metadata(SEARCH, size)) for _ in range(count)]
        for one in calls:
            # Once it has begun to receive, and not if it rejects the call.
            await one.initial_metadata()
            if not one.done():
                await one.write(pieces_pb2.CallRequest(data=bytes(MIB)).SerializeToString())
        yield calls
        for one in calls:
            one.cancel()


async def test_both_clients_search_an_image_larger_than_a_message(make_toy, serve, network) -> None:
    toy = make_toy()
    async with serve(toy, limits=SMALL, open_embedder=network(toy), writable=True) as served:

        def ask() -> tuple[Any, ...]:
            with lookalike.Client(served.app.address) as client:
                near = client.search(image=picture(), k=3)
                embedded = client.embed(images=[picture(1), picture(2)])
                added = client.upsert(images={"new.jpg": picture(3)})
                return near, embedded, added

        near, embedded, added = await asyncio.to_thread(ask)
        assert near.ids[0] == toy.ids[7]
        np.testing.assert_array_equal(embedded, toy.vectors[1:3])
        assert len(added.ids) == 1
        async with lookalike.aio.Client(served.app.address) as client:
            again = await client.search(image=picture(), k=3)
            assert again.ids.tolist() == near.ids.tolist()
            assert (await client.search(image=b"7", k=3)).ids.tolist() == near.ids.tolist()


async def test_large_reply_arrives_in_pieces_with_the_same_bytes(make_toy, serve) -> None:
    toy = make_toy()
    query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=toy.ids[:250].tolist()))
    fields = search_pb2.NeighborFields(keys=True, labels=True)
    request = search_pb2.SearchRequest(query=query, k=480, fields=fields)
    async with (
        serve(toy) as served,
        grpc.aio.insecure_channel(served.app.address, [("grpc.max_receive_message_length", -1)]) as channel,
    ):
        reply = await channel.unary_unary(SEARCH)(request.SerializeToString())
        whole = search_pb2.SearchResponse.FromString(reply).neighbors.SerializeToString()
    assert len(whole) > 2 * MIB
    async with serve(toy, limits=SMALL) as served:
        with pytest.raises(grpc.aio.AioRpcError, match="Request fewer items, or use lookalike") as caught:
            await served.search.Search(request)
        assert caught.value.code() is CODE.INVALID_ARGUMENT
        reply = search_pb2.SearchResponse.FromString(await call(served, SEARCH, [request.SerializeToString()]))
        assert reply.neighbors.SerializeToString() == whole
        async with lookalike.aio.Client(served.app.address) as client:
            found = await client.search(ids=toy.ids[:250], k=480)
        assert found.ids.tobytes() == wire.decode(reply.neighbors.ids).tobytes()


async def test_chunked_call_without_pieces_equals_a_plain_call(make_toy, serve) -> None:
    # A request without bytes has no pieces.
    async with serve(make_toy()) as served:
        path = "/lookalike.v1.CollectionService/GetCollection"
        reply = collection_pb2.GetCollectionResponse.FromString(await call(served, path, []))
        assert reply == await served.collection.GetCollection(collection_pb2.GetCollectionRequest())


@pytest.mark.parametrize(
    ("sent", "metadata", "code", "said"),
    [
        ([b"x"], {pieces.BYTES_KEY: "none"}, CODE.INVALID_ARGUMENT, "length of its request in its metadata"),
        ([b"x"], {pieces.BYTES_KEY: "-1"}, CODE.INVALID_ARGUMENT, "length of its request in its metadata"),
        ([b"x"], {pieces.BYTES_KEY: "99999999999"}, CODE.INVALID_ARGUMENT, "the limit is 16777216, which is max_mes"),
        ([b"x"], {pieces.BYTES_KEY: "9"}, CODE.INVALID_ARGUMENT, "ended after 1 of the 9 bytes|each but the last"),
        ([b"xx"], {pieces.BYTES_KEY: "1"}, CODE.INVALID_ARGUMENT, "have more than its 1 bytes"),
        ([b""], {pieces.BYTES_KEY: "1"}, CODE.INVALID_ARGUMENT, "A piece has 0 bytes"),
        ([b"x", b"x"], {}, CODE.INVALID_ARGUMENT, "each but the last must have 65536 to"),
        ([bytes(MIB)], {pieces.BYTES_KEY: str(2 * MIB)}, CODE.INVALID_ARGUMENT, "ended after 1048576 of the 2097152"),
        ([b"\xff" * 40], {}, CODE.INVALID_ARGUMENT, "not valid for this method"),
        ([b"x"], {pieces.METHOD_KEY: "lookalike.v1.SearchService/Nothing"}, CODE.UNIMPLEMENTED, "no such method"),
        ([b"x"], {pieces.METHOD_KEY: "grpc.health.v1.Health/Watch"}, CODE.UNIMPLEMENTED, "no such method"),
        ([b"x"], {pieces.METHOD_KEY: pieces.METHOD[1:]}, CODE.UNIMPLEMENTED, "no such method"),
    ],
)
async def test_pieces_that_differ_from_their_announcement_are_rejected(
    make_toy, serve, sent, metadata, code, said
) -> None:
    async with serve(make_toy(), limits=SMALL) as served:
        with pytest.raises(grpc.RpcError, match=said) as caught:
            await call(served, SEARCH, sent, metadata=metadata)
        assert caught.value.code() is code
        await until(lambda: not served.app.admission.accounts and not served.app.admission.arriving)


async def test_too_large_piece_is_rejected(make_toy, serve) -> None:
    async with serve(make_toy()) as served:
        with pytest.raises(grpc.RpcError, match="the limit is 2097152") as caught:
            await call(served, SEARCH, [bytes(3 * MIB)])
        assert caught.value.code() is CODE.INVALID_ARGUMENT


async def test_request_over_the_limit_has_its_own_error(make_toy, serve) -> None:
    async with serve(make_toy(), limits=SMALL) as served, lookalike.aio.Client(served.app.address) as client:
        with pytest.raises(lookalike.MessageTooLargeError, match="16777216, which is max_message_bytes"):
            await client.search(image=bytes(17 * MIB))


async def test_chunked_call_needs_the_token_and_role_of_its_method(make_toy, serve, tmp_path) -> None:
    token, line = new_token("reader", "read")
    tokens = tmp_path / "tokens"
    tokens.write_text(line + "\n")
    async with serve(make_toy(), limits=SMALL, listen=Listen(port=0, tokens=tokens), writable=True) as served:
        with pytest.raises(grpc.RpcError) as caught:
            await call(served, SEARCH, [searching(b"7")])
        assert caught.value.code() is CODE.UNAUTHENTICATED
        shown = {"authorization": f"Bearer {token}"}
        with pytest.raises(grpc.RpcError, match="Upsert needs the role write") as caught:
            await call(served, UPSERT, [b"x"], metadata=shown)
        assert caught.value.code() is CODE.PERMISSION_DENIED
        # It reaches the method.
        with pytest.raises(grpc.RpcError, match="k is 0"):
            await call(served, SEARCH, [], metadata=shown)


async def test_bytes_are_reserved_before_the_first_piece_is_read(make_toy, serve, refused) -> None:
    limits = Limits(max_unary_bytes=2 * MIB, max_message_bytes=16 * MIB, max_peer_bytes=20 * MIB)
    async with serve(make_toy(), limits=limits) as served, unfinished(served, 1, 15 * MIB):
        await until(lambda: served.app.admission.held_bytes == 15 * MIB)
        with pytest.raises(grpc.RpcError, match="max_peer_bytes, 20971520") as caught:
            await call(served, SEARCH, [bytes(2 * MIB)] * 6)
        error = refused(caught.value)
        assert (error.code, error.retry_after is not None) == (CODE.RESOURCE_EXHAUSTED, True)
        query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5]))
        assert list((await served.neighbors(query, 3)).neighbors.counts) == [3], "whoever asks for little is served"


async def test_endless_request_times_out(make_toy, serve) -> None:
    limits = Limits(max_unary_bytes=2 * MIB, max_receive_ms=1500)
    async with serve(make_toy(), limits=limits) as served, unfinished(served, 3, 8 * MIB) as calls:
        for one in calls:
            assert await one.code() is CODE.DEADLINE_EXCEEDED
        await until(lambda: not served.app.admission.accounts and not served.app.admission.arriving)


async def test_endless_requests_are_dropped_for_another_connection(make_toy, serve, network) -> None:
    toy = make_toy()
    limits = Limits(max_unary_bytes=2 * MIB, max_message_bytes=16 * MIB, max_peer_bytes=40 * MIB)
    async with (
        serve(toy, limits=limits, open_embedder=network(toy)) as served,
        unfinished(served, 5, 12 * MIB) as calls,
    ):
        # An equal share is always available, so this much is needed to block others.
        await until(lambda: served.app.admission.held_bytes == 36 * MIB)
        async with lookalike.aio.Client(served.app.address, timeout=60) as client:
            assert (await client.search(image=picture(size=15 * MIB), k=1)).ids[0] == toy.ids[7]
        codes = {await one.code() for one in calls if one.done()}
        assert codes == {CODE.RESOURCE_EXHAUSTED}


async def test_its_calls_are_measured_under_the_name_of_the_method(make_toy, serve, network) -> None:
    toy = make_toy()
    observe = ObserveSettings(metrics_port=0)
    async with serve(toy, limits=SMALL, open_embedder=network(toy), observe=observe) as served:
        assert await call(served, SEARCH, list(pieces.cut(searching(picture()))))
        with pytest.raises(grpc.RpcError):
            await call(served, SEARCH, [b"x"], {pieces.METHOD_KEY: "a.b/Made up"})
        address = f"http://127.0.0.1:{served.app.metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(address, timeout=20).read().decode())
        assert 'lookalike_call_seconds_count{code="OK",rpc="lookalike.v1.SearchService/Search"} 1.0' in text
        assert 'lookalike_call_seconds_count{code="UNIMPLEMENTED",rpc="unknown"} 1.0' in text
        assert "Made up" not in text
        assert "PieceService" not in text


async def test_deadline_holds_while_pieces_arrive(make_toy, serve) -> None:
    async with serve(make_toy(), limits=SMALL) as served:
        carrier = served.channel.stream_stream(pieces.METHOD)
        waiting = carrier(metadata=pieces.metadata(SEARCH, 4 * MIB), timeout=0.5)
        assert await waiting.code() is CODE.DEADLINE_EXCEEDED
        await until(lambda: not served.app.admission.accounts and not served.app.calls_in_flight)
