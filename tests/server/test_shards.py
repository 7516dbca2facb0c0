"""A router with shards answers like one server with all data, or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc

import lookalike
from lookalike import wire
from lookalike.v1 import (
    cluster_pb2,
    collection_pb2,
    filter_pb2,
    search_pb2,
    server_pb2,
    shard_pb2,
    shard_pb2_grpc,
    types_pb2,
)
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_server.commands.route import route
from lookalike_server.common.settings import Listen, ServeSettings
from lookalike_server.common.shard_settings import ShardSettings, read_shards
from lookalike_server.common.share import Share
from lookalike_server.services.shard import ShardServicer
from lookalike_server.shards.replica import Replica
from lookalike_server.transport.tokens import new_token

from .conftest import Served, random_vectors

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def addresses(shards: list[list[Served]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(one.app.address for one in replicas) for replicas in shards)


@asynccontextmanager
async def spread(
    serve: Any, toy: Any, count: int, replicas: int = 1, **settings: Any
) -> AsyncIterator[tuple[Served, list[list[Served]]]]:
    """A router, and the replicas of each of its shards."""
    async with AsyncExitStack() as stack:
        shards = [
            [await stack.enter_async_context(serve(toy, share=Share(number, count))) for _ in range(replicas)]
            for number in range(1, count + 1)
        ]
        asked = ShardSettings(addresses(shards), **settings)
        yield await stack.enter_async_context(serve(toy, shards=asked)), shards


def by_ids(*ids: int) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(number) for number in ids]))


def told(reply: Any) -> Any:
    """Return a reply without the parts that depend on the server and the time."""
    if "served" not in reply.DESCRIPTOR.fields_by_name:
        return reply
    if "next_page_token" in reply.DESCRIPTOR.fields_by_name:
        reply.next_page_token = reply.next_page_token and "there are more"
    reply.served.ClearField("timings")
    reply.served.ClearField("device")
    reply.served.ClearField("batch_size")
    reply.served.plan.ClearField("cached")
    return reply


async def outcome(call: Any) -> Any:
    """Return a reply, or the error of the call."""
    try:
        return told(await call)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


def searches(toy: Any, by_vector: Any) -> list[search_pb2.SearchRequest]:
    queries = by_vector(np.concatenate([toy.vectors[[0, 7, 499]], random_vectors(4, seed=8)]))
    key, other = toy.key(toy.ids[3]), toy.key(toy.ids[8])
    names = search_pb2.NeighborFields(keys=True, labels=True, attributes=["stock"])
    asked = [
        search_pb2.SearchRequest(query=queries, k=10, fields=names, explain=True),
        search_pb2.SearchRequest(query=queries, k=3, nprobe=1),
        search_pb2.SearchRequest(query=queries, k=10, recall=0.9),
        search_pb2.SearchRequest(query=queries, k=10, exact=True),
        search_pb2.SearchRequest(query=queries, k=900),
        search_pb2.SearchRequest(query=by_ids(*toy.ids[20:60]), k=5),
        search_pb2.SearchRequest(query=by_ids(toy.ids[20]), k=20, max_distance=0.8),
        search_pb2.SearchRequest(query=by_ids(toy.ids[20]), k=4, fields=search_pb2.NeighborFields(vectors=True)),
        search_pb2.SearchRequest(
            query=by_ids(*toy.ids[20:23]), k=3, grouping=search_pb2.Grouping(column="label", per_group=2)
        ),
        search_pb2.SearchRequest(k=9, feedback=search_pb2.Feedback(keys=[key], not_keys=[other])),
    ]
    for words in ("stock < 5", "stock >= 250", "label = 'label1'", "stock > 100000", "cluster('tiny/k4') in (1, 2)"):
        for effort in ({}, {"exact": True}):
            matching = filter_pb2.Filter(text=words)
            asked += [search_pb2.SearchRequest(query=queries, k=10, filter=matching, **effort)]
    return asked


@pytest.mark.parametrize("index", ["IVF16,Flat", "IVF16,PQ4x4fs,Refine(SQ8)", "HNSW8,Flat", "SQfp16"])
async def test_router_answers_like_one_server(make_toy, attach, serve, by_vector, index) -> None:
    vectors = random_vectors(600)
    vectors[50:600:7] = vectors[7]
    toy = make_toy(vectors, index=index, clusters=4)
    attach(toy, stock=list(range(600)))
    delete(toy.storage, ids=toy.ids[[0, 64, 300, 301]].tolist())
    async with serve(toy) as whole, spread(serve, toy, 3) as (router, _):
        for request in searches(toy, by_vector):
            expected = await outcome(whole.search.Search(request))
            assert await outcome(router.search.Search(request)) == expected, request
        reply = await router.search.Search(searches(toy, by_vector)[0])
        assert reply.served.device == "shards"


async def test_all_other_calls_are_answered_by_the_router(make_toy, serve) -> None:
    toy = make_toy(index="IVF16,Flat", clusters=4)
    calls = [
        ("search", "GetVectors", search_pb2.GetVectorsRequest(query=by_ids(*toy.ids[:3]))),
        ("cluster", "GetMembership", cluster_pb2.GetMembershipRequest(query=by_ids(*toy.ids[:3]), members=5)),
        ("cluster", "ListClusters", cluster_pb2.ListClustersRequest(clustering="tiny/k4")),
        ("cluster", "ListMembers", cluster_pb2.ListMembersRequest(clustering="tiny/k4", page_size=7)),
        ("collection", "GetCollection", collection_pb2.GetCollectionRequest()),
        ("collection", "ListImages", collection_pb2.ListImagesRequest(page_size=7)),
        ("collection", "GetThumbnails", collection_pb2.GetThumbnailsRequest(ids=[int(toy.ids[0])])),
    ]
    async with serve(toy) as whole, spread(serve, toy, 2) as (router, shards):
        for service, method, request in calls:
            expected = told(await getattr(getattr(whole, service), method)(request))
            for server in (router, shards[0][0]):
                assert told(await getattr(getattr(server, service), method)(request)) == expected, method


async def test_shard_describes_itself_and_rejects_direct_searches(make_toy, serve, by_vector, refused) -> None:
    toy = make_toy()
    async with spread(serve, toy, 2) as (router, shards):
        info = await shards[1][0].server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert info.shard == "2/2"
        with lookalike.Client(shards[1][0].app.address) as client:
            assert (await asyncio.to_thread(client.server_info)).shard == "2/2"
        info = await router.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert (info.shard, info.placement, list(info.devices)) == ("", "shards", ["shard 1/2", "shard 2/2"])
        for effort in ({}, {"exact": True}):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await shards[1][0].neighbors(by_vector(toy.vectors[:1]), 3, **effort)
            assert refused(caught.value).code is grpc.StatusCode.FAILED_PRECONDITION
            assert "shard 2/2 of the images; call the router" in caught.value.details()
        stub = shard_pb2_grpc.ShardServiceStub(router.channel)
        for call, request in (
            (stub.GetShard, shard_pb2.GetShardRequest()),
            (stub.SearchShard, shard_pb2.SearchShardRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match="This server is not a shard; start it with --shard N/M"):
                await call(request)


async def test_shard_verifies_its_own_vectors_first_and_others_on_request(
    make_toy, serve, refused, monkeypatch
) -> None:
    toy = make_toy(part_rows=100, index_ids=True)
    parts = CollectionReader.open(str(toy.root)).manifest.spaces["tiny"].parts
    damaged = toy.root / parts[-1]
    damaged.write_bytes(bytes(damaged.stat().st_size))
    hashed: list[str] = []
    verify = CollectionReader.verify
    monkeypatch.setattr(CollectionReader, "verify", lambda self, path: hashed.append(path) or verify(self, path))
    # The first half of the rows, and a part that both halves share.
    own_parts = parts[: -(-len(toy.ids) // 200)]
    assert 0 < len(own_parts) < len(parts)
    async with serve(toy, share=Share(1, 2)) as shard:
        await until(lambda: shard.app.current.snapshot.verification.is_whole)
        assert sorted(set(hashed).intersection(parts)) == own_parts
        own = search_pb2.GetVectorsRequest(query=by_ids(int(toy.ids[3])))
        assert (await shard.search.GetVectors(own)).served.generation == 1
        other = search_pb2.GetVectorsRequest(query=by_ids(int(toy.ids[-1])))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await shard.search.GetVectors(other)
        assert refused(caught.value).code is grpc.StatusCode.DATA_LOSS


async def test_shard_rejects_invalid_requests(make_toy, serve) -> None:
    toy = make_toy(index="IVF8,Flat")
    async with serve(toy, share=Share(1, 2)) as shard:
        stub = shard_pb2_grpc.ShardServiceStub(shard.channel)
        digest = (await stub.GetShard(shard_pb2.GetShardRequest())).generations[0].digest
        queries, one = wire.encode(random_vectors(2)), wire.encode(np.array([3, 3]))
        right = shard_pb2.SearchShardRequest(digest=digest, queries=queries, k=3, nprobe=2, wanted=one)
        assert wire.decode((await stub.SearchShard(right)).rows).shape == (2, 3)
        mask = shard_pb2.ShardMask(digest="0" * 32, rows=500, bits=bytes(63))
        for changes, said in (
            ({"digest": "none"}, "does not have the generation none"),
            ({"k": 0}, "k must be 1 or more"),
            ({"k": 2**31 - 1}, "exceed the largest message"),
            ({"candidates": 2**31 - 1}, "exceed the largest message"),
            ({"nprobe": 2**31 - 1}, "it must be at most 2048"),
            ({"wanted": wire.encode(np.array([4, 3]))}, "must be 0 to k"),
            ({"wanted": wire.encode(np.zeros(2, np.float32))}, "wanted must be int64"),
            ({"queries": wire.encode(random_vectors(2, dim=5))}, "of 16 dimensions"),
            ({"queries": wire.encode(np.full((2, 16), np.nan, np.float32))}, "finite"),
            ({"queries": types_pb2.Tensor()}, "no element type"),
            ({"masks": [mask]}, "do not match its digest"),
            ({"masks": [shard_pb2.ShardMask(rows=500, bits=b"1")]}, "cannot have 1 bytes"),
            # Eight times as large in memory as in the message: rejected before it is expanded.
            ({"masks": [shard_pb2.ShardMask(rows=1 << 20, bits=bytes(1 << 17))]}, "must have 500 rows"),
            ({"space": "none"}, "none"),
        ):
            request = shard_pb2.SearchShardRequest()
            request.CopyFrom(right)
            for name, value in changes.items():
                request.ClearField(name)
                request.MergeFrom(shard_pb2.SearchShardRequest(**{name: value}))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.SearchShard(request)
            assert said in caught.value.details()
            assert caught.value.code() is not grpc.StatusCode.INTERNAL
        right.masks.add(digest="not known", rows=500)
        assert list((await stub.SearchShard(right)).unknown_masks) == ["not known"]


async def test_shard_keeps_two_earlier_generations(make_toy, serve) -> None:
    toy = make_toy()
    async with serve(toy, share=Share(1, 2)) as shard:
        stub = shard_pb2_grpc.ShardServiceStub(shard.channel)
        named: list[str] = []

        async def there() -> list[int]:
            reply = await stub.GetShard(shard_pb2.GetShardRequest(router="one", digests=named))
            named[:] = dict.fromkeys([*named, *(one.digest for one in reply.generations)])
            return [one.generation for one in reply.generations]

        for generation in range(2, 6):
            await there()
            # Now it names the newest generation, too.
            await there()
            delete(toy.storage, ids=[int(toy.ids[generation])])
            await shard.server.Reload(server_pb2.ReloadRequest())
        # As often as the shard checks its cache.
        for _ in range(3):
            shard.app.collections[0].current.close_unused()
        assert await there() == [3, 4, 5]


async def until(condition: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_no_answer_mixes_generations(make_toy, serve, by_vector) -> None:
    asked = random_vectors(20, seed=99)
    toys = {1: make_toy(random_vectors(300, seed=1))}
    replies: list[tuple[int, search_pb2.SearchResponse]] = []
    done = False
    async with spread(serve, toys[1], 2, 2) as (router, shards):

        async def caller(position: int) -> None:
            while not done:
                position = (position + 1) % len(asked)
                replies.append((position, await router.neighbors(by_vector(asked[[position]]), 5)))

        callers = [asyncio.ensure_future(caller(number)) for number in range(6)]
        late = shards[1][1].app.first.reloader
        follow = late.follow
        late.follow = _nothing
        toys[2] = make_toy(random_vectors(400, seed=2), index="IVF8,Flat", default_nprobe=8)
        others = [one for replicas in shards for one in replicas if one is not shards[1][1]]
        await until(lambda: all(one.app.current.snapshot.generation == 2 for one in others))
        # The router waits for all replicas, and the others keep the generation that it requests.
        assert router.app.current.snapshot.generation == 1
        before = len(replies)
        await until(lambda: len(replies) > before + 50)
        assert all(1 in one.app.current.generations for one in others)
        late.follow = follow
        await until(lambda: router.app.current.snapshot.generation == 2)
        before = len(replies)
        await until(lambda: len(replies) > before + 50)
        await until(lambda: all(one.app.current.generations == [2] for replicas in shards for one in replicas))
        done = True
        await asyncio.gather(*callers)
    assert {reply.served.generation for _, reply in replies} == {1, 2}
    truth = {generation: toy.brute_force(asked, 5) for generation, toy in toys.items()}
    for position, reply in replies:
        ids, distances = truth[reply.served.generation]
        np.testing.assert_array_equal(wire.decode(reply.neighbors.ids), ids[position])
        np.testing.assert_allclose(wire.decode(reply.neighbors.distances), distances[position], atol=2e-6)


async def _nothing() -> None:
    """A server that does not see the new generation yet."""


async def test_missing_shard_makes_searches_unavailable_until_it_returns(make_toy, serve, by_vector) -> None:
    toy = make_toy()
    query = by_vector(toy.vectors[:2])
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serve(toy, share=Share(1, 2)))
        gone = AsyncExitStack()
        second = await gone.enter_async_context(serve(toy, share=Share(2, 2)))
        port = int(second.app.address.rpartition(":")[2])
        settings = ShardSettings(addresses([[first], [second]]))
        router = await stack.enter_async_context(serve(toy, shards=settings))
        health = health_pb2_grpc.HealthStub(router.channel)
        assert router.app.first.shard_replicas == {1: 1, 2: 1}
        expected = (await router.neighbors(query, 5)).neighbors
        await gone.aclose()
        for effort in ({}, {"exact": True}):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await router.search.Search(search_pb2.SearchRequest(query=query, k=5, **effort), timeout=30)
            assert caught.value.code() is UNAVAILABLE
            assert re.search(r"shard 2/2|Shard 2 does not answer", caught.value.details())
        assert router.app.first.shard_replicas == {1: 1, 2: 0}
        # Calls that need no shard are answered.
        await router.search.GetVectors(search_pb2.GetVectorsRequest(query=by_ids(toy.ids[0])))
        await _until_health(health, health_pb2.HealthCheckResponse.NOT_SERVING)
        back = await stack.enter_async_context(serve(toy, share=Share(2, 2), listen=Listen(port=port)))
        assert back.app.address == second.app.address
        await _until_health(health, health_pb2.HealthCheckResponse.SERVING)
        assert (await router.neighbors(query, 5)).neighbors == expected


async def _until_health(health: Any, status: Any) -> None:
    async with asyncio.timeout(60):
        while (await health.Check(health_pb2.HealthCheckRequest())).status != status:
            await asyncio.sleep(0.02)


async def test_another_replica_answers_for_a_hung_replica(make_toy, serve, by_vector, monkeypatch) -> None:
    toy = make_toy()
    search, hangs, hung = ShardServicer.SearchShard, set(), []

    async def hanging(servicer: ShardServicer, request: Any, context: Any) -> Any:
        if servicer._current in hangs:
            hung.append(servicer)
            await asyncio.sleep(3600)
        return await search(servicer, request, context)

    # Before the servers start, since they keep references to the methods.
    monkeypatch.setattr(ShardServicer, "SearchShard", hanging)
    async with spread(serve, toy, 2, 2, hedge_ms=50, timeout_ms=60_000) as (router, shards):
        expected = (await router.neighbors(by_vector(toy.vectors[:1]), 5)).neighbors
        hangs.add(shards[0][0].app.first.current)
        for _ in range(6):
            assert (await router.neighbors(by_vector(toy.vectors[:1]), 5)).neighbors == expected
    assert hung


async def test_server_of_another_shard_is_not_called(make_toy, serve, by_vector, caplog) -> None:
    toy = make_toy()
    async with AsyncExitStack() as stack:
        one, two, wrong = [
            await stack.enter_async_context(serve(toy, share=share))
            for share in (Share(1, 2), Share(2, 2), Share(1, 3))
        ]
        settings = ShardSettings(addresses([[one], [two, wrong]]))
        router = await stack.enter_async_context(serve(toy, shards=settings))
        for _ in range(4):
            await router.neighbors(by_vector(toy.vectors[:1]), 5)
    assert "it is shard 1/3, and is listed as shard 2/2" in caplog.text


async def test_answer_of_another_share_is_not_taken(make_toy, serve, by_vector, monkeypatch, caplog) -> None:
    toy = make_toy()
    tell, claims = ShardServicer.GetShard, set()

    async def claiming(servicer: Any, request: Any, context: Any) -> Any:
        reply = await tell(servicer, request, context)
        if servicer._current in claims:
            reply.shard = 2
        return reply

    monkeypatch.setattr(ShardServicer, "GetShard", claiming)
    async with AsyncExitStack() as stack:
        alone = await stack.enter_async_context(serve(toy))
        expected = (await alone.neighbors(by_vector(toy.vectors[:1]), 5)).neighbors
        one, two, wrong = [
            await stack.enter_async_context(serve(toy, share=share))
            for share in (Share(1, 2), Share(2, 2), Share(1, 2))
        ]
        claims.add(wrong.app.first.current)
        settings = ShardSettings(addresses([[one], [wrong, two]]))
        router = await stack.enter_async_context(serve(toy, shards=settings))
        for _ in range(6):
            assert (await router.neighbors(by_vector(toy.vectors[:1]), 5)).neighbors == expected
    assert "it is shard 1/2, and is listed as shard 2/2" in caplog.text


async def test_shards_ask_the_router_for_a_token(make_toy, serve, by_vector, tmp_path, caplog) -> None:
    toy = make_toy()
    tokens, secret = tmp_path / "tokens", tmp_path / "secret"
    token, line = new_token("router", "read")
    tokens.write_text(f"{line}\n")
    secret.write_text(f"{token}\n")
    async with AsyncExitStack() as stack:
        listen = Listen(port=0, tokens=tokens)
        shards = [
            [await stack.enter_async_context(serve(toy, share=Share(number, 2), listen=listen))] for number in (1, 2)
        ]
        settings = ShardSettings(addresses(shards), token_file=secret)
        router = await stack.enter_async_context(serve(toy, shards=settings))
        assert list((await router.neighbors(by_vector(toy.vectors[:1]), 5)).neighbors.counts) == [5]
        # A file that is being written, or is gone, leaves the earlier token in use.
        for spoil in (secret.unlink, lambda: secret.write_bytes(b""), lambda: secret.write_bytes(b"\xff")):
            spoil()
            shards_of_router = router.app.first._shards
            for replica in shards_of_router.replicas:
                shards_of_router.suspect(replica, "a call failed")
            assert list((await router.neighbors(by_vector(toy.vectors[:1]), 5)).neighbors.counts) == [5]
        assert caplog.text.count(f"{secret} contains no token") == 1
        assert "could not ask" not in caplog.text


async def test_shards_ask_the_router_for_a_certificate(make_toy, serve, by_vector, certificates) -> None:
    toy = make_toy()
    server, friend, stranger = certificates("server"), certificates("friend"), certificates("stranger")
    listen = Listen(port=0, tls_cert=server.cert, tls_key=server.key, tls_client_ca=friend.cert)
    async with AsyncExitStack() as stack:
        shards = [
            [await stack.enter_async_context(serve(toy, share=Share(number, 2), listen=listen))] for number in (1, 2)
        ]
        # The certificates are for this name.
        there = tuple((address.replace("127.0.0.1", "localhost"),) for (address,) in addresses(shards))
        settings = ShardSettings(there, ca=server.cert, cert=friend.cert, key=friend.key)
        router = await stack.enter_async_context(serve(toy, shards=settings))
        assert list((await router.neighbors(by_vector(toy.vectors[:1]), 5)).neighbors.counts) == [5]
        other = Replica(there[0][0], 1, dataclasses.replace(settings, cert=stranger.cert, key=stranger.key))
        stack.callback(other.close)
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(other.get_shard, shard_pb2.GetShardRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_killed_replica_causes_no_failed_call(make_toy, serve, by_vector) -> None:
    toy = make_toy()
    asked = random_vectors(20, seed=3)
    ids, _ = toy.brute_force(asked, 5)
    port = free_port()

    command = [sys.executable, "-m", "lookalike", "serve", str(toy.root), "--no-experiments"]
    command += ["--shard", "1/2", "--port", str(port)]
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(serve(toy, share=Share(number, 2))) for number in (1, 2)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.callback(process.stdout.close)
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert "shard 1/2" in await asyncio.to_thread(process.stdout.readline)
        settings = ShardSettings(((first.app.address, f"127.0.0.1:{port}"), (second.app.address,)))
        router = await stack.enter_async_context(serve(toy, shards=settings))
        answered, wrong, done = 0, 0, False

        async def caller(position: int) -> None:
            nonlocal answered, wrong
            while not done:
                position = (position + 1) % len(asked)
                reply = await router.neighbors(by_vector(asked[[position]]), 5)
                answered += 1
                wrong += wire.decode(reply.neighbors.ids).tolist() != ids[position].tolist()
                # The servers share a processor with the process that starts.
                await asyncio.sleep(0.02)

        callers = [asyncio.ensure_future(caller(number)) for number in range(4)]
        shards = router.app.first.loader.shards
        replica = next(one for one in shards.replicas if one.address.endswith(f":{port}"))
        await until(lambda: replica.calls > 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
        await until(lambda: not replica.live)
        await stack.enter_async_context(serve(toy, share=Share(1, 2), listen=Listen(port=port)))
        await until(lambda: replica.live)
        before = replica.calls
        await until(lambda: replica.calls > before + 20)
        done = True
        # Raises the error of a failed call.
        await asyncio.gather(*callers)
        assert answered > 40
        assert wrong == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is not TOML"),
        ("", "the file names no shard"),
        ("[[shard]]\nreplicas = []", "shard 1 must have only replicas"),
        ("[[shard]]\nreplicas = ['a']", "shard 1 must have only replicas"),
        ("[[shard]]\nreplicas = ['127.0.0.1:1']\nport = 3", "must have only replicas"),
        ("[[shard]]\nreplicas = ['127.0.0.1:1', '127.0.0.1:1']", "is listed twice"),
        ("[[shard]]\nreplicas = ['10.0.0.1:1']", "10.0.0.1:1 is a remote machine, so configure TLS"),
        ("timeout = 3\n[[shard]]\nreplicas = ['127.0.0.1:1']", "timeout is not a setting; the settings are: ca"),
        ("timeout_ms = 0\n[[shard]]\nreplicas = ['127.0.0.1:1']", "timeout_ms is 0"),
        ("ca = 'none.pem'\n[[shard]]\nreplicas = ['127.0.0.1:1']", "ca: there is no file"),
    ],
)
def test_mistakes_in_the_shards_file_are_reported(tmp_path, text, said) -> None:
    file = tmp_path / "shards.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match="--shards") as caught:
        read_shards(file)
    assert said in str(caught.value)


def test_shard_file_is_parsed(tmp_path) -> None:
    file = tmp_path / "shards.toml"
    (tmp_path / "token").write_text("x")
    file.write_text(
        "collection = 'photos'\ntimeout_ms = 500\nhedge_ms = 0\ninsecure = true\ntoken_file = 'token'\n"
        "[[shard]]\nreplicas = ['a.example:1', 'b.example:1']\n[[shard]]\nreplicas = ['[::1]:2']\n"
    )
    assert read_shards(file) == ShardSettings(
        (("a.example:1", "b.example:1"), ("[::1]:2",)), "photos", 500, 0, token_file=tmp_path / "token"
    )


def test_incompatible_settings_are_rejected() -> None:
    with pytest.raises(UsageError, match="--shard and --writable"):
        ServeSettings("x", share=Share(1, 2), writable=True)
    with pytest.raises(UsageError, match="needs --placement cpu"):
        ServeSettings("x", share=Share(1, 2), placement="gpu")


def test_router_has_the_options_of_a_server_but_those_of_an_index(make_toy) -> None:
    shown = CliRunner().invoke(route, ["--help"]).output
    for option in ("--shards FILE", "--tokens", "--max-k", "--metrics-port", "--http", "--fronts", "--cache"):
        assert option in shown
    for option in ("--placement", "--gpus", "--writable", "  --shard N/M", "--on-device-loss"):
        assert option not in shown
    toy = make_toy()
    result = CliRunner().invoke(route, [str(toy.root), "--shards", "/nowhere.toml"])
    assert result.exit_code != 0
    assert "/nowhere.toml cannot be read" in result.output
