"""Limits apply before any work, and misbehaving callers have no lasting cost."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from tests.server.raw_caller import GREETING, RawCaller

from lookalike import wire
from lookalike.v1 import search_pb2, types_pb2
from lookalike_server.common.limits import MIB, Limits
from lookalike_server.common.settings import Connections

CODE = grpc.StatusCode
SEARCH = "/lookalike.v1.SearchService/Search"


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Gate:
    """A device that blocks until it is opened; at the Device seam."""

    max_selection = None

    def __init__(self) -> None:
        self.name = "gate"
        self.open = threading.Event()
        self.batches: list[int] = []

    def host(self, index: Any) -> Any:
        gate = self

        class Gated(type(index)):
            def search(self, values, k, *, params=None):
                gate.batches.append(len(values))
                assert gate.open.wait(60)
                return super().search(values, k, params=params)

        gated = Gated(index.d)
        gated.add(index.reconstruct_n(0, index.ntotal))
        return gated


def one(number: int = 5) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[number]))


def accounts(served: Any) -> dict[str, Any]:
    return served.app.admission.accounts


async def test_calls_over_the_limit_of_a_peer_are_rejected_immediately(make_toy, serve, refused) -> None:
    gate = Gate()
    async with serve(make_toy(), devices=[gate], limits=Limits(max_peer_calls=3)) as served:
        calls = [asyncio.ensure_future(served.neighbors(one(), 3)) for _ in range(3)]
        await until(lambda: bool(accounts(served)) and next(iter(accounts(served).values())).calls == 3)
        # Another connection is the same peer.
        async with grpc.aio.insecure_channel(served.app.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await other.unary_unary(SEARCH)(b"\xff not even looked at")
        error = refused(caught.value)
        assert (error.code, error.reason) == (CODE.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert "3 calls in flight, which is max_peer_calls" in error.message
        assert error.retry_after is not None
        gate.open.set()
        assert all(list(reply.neighbors.counts) == [3] for reply in await asyncio.gather(*calls))
        await until(lambda: not accounts(served))


async def test_bytes_of_both_messages_count_until_the_reply_is_sent(make_toy, serve, by_vector, refused) -> None:
    gate = Gate()
    limits = Limits(max_peer_bytes=12_000)
    async with serve(make_toy(), devices=[gate], limits=limits) as served:
        large = by_vector(np.ones((100, 16), np.float32))
        first = asyncio.ensure_future(served.neighbors(large, 3))
        await until(lambda: bool(gate.batches))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.neighbors(large, 3)
        error = refused(caught.value)
        assert error.code is CODE.RESOURCE_EXHAUSTED
        assert "max_peer_bytes, 12000" in error.message
        small = asyncio.ensure_future(served.neighbors(one(), 3))
        gate.open.set()
        await small
        await first
        await until(lambda: not accounts(served))
        # Alone, a call may be as large as a message.
        await served.neighbors(by_vector(np.ones((200, 16), np.float32)), 3)


async def test_message_over_the_limit_is_rejected(make_toy, serve) -> None:
    async with serve(make_toy(), limits=Limits(max_message_bytes=1 * MIB)) as served:
        call = served.channel.unary_unary(SEARCH)
        with pytest.raises(grpc.aio.AioRpcError, match="message larger than max") as caught:
            await call(bytes(2 * MIB))
        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED
        await until(lambda: not accounts(served))
        assert list((await served.neighbors(one(), 3)).neighbors.counts) == [3]


async def test_unparsable_bytes_are_an_invalid_argument(make_toy, serve, refused) -> None:
    async with serve(make_toy()) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.channel.unary_unary(SEARCH)(b"\xff" * 40)
        error = refused(caught.value)
        assert (error.code, error.fields) == (CODE.INVALID_ARGUMENT, ["request"])


async def test_calls_queued_too_long_are_rejected_without_a_search(make_toy, serve, refused) -> None:
    gate = Gate()
    async with serve(make_toy(), devices=[gate], limits=Limits(max_queue_ms=1000)) as served:
        first = asyncio.ensure_future(served.neighbors(one(), 3))
        await until(lambda: bool(gate.batches))
        stale = [asyncio.ensure_future(served.neighbors(one(), 3)) for _ in range(4)]
        await until(lambda: served.app.queues()["search"] == 4)
        await asyncio.sleep(1.1)
        gate.open.set()
        await first
        for result in await asyncio.gather(*stale, return_exceptions=True):
            error = refused(result)
            assert error.code is CODE.RESOURCE_EXHAUSTED
            assert "longer than 1 s" in error.message
            assert error.retry_after is not None
        assert gate.batches == [1], "the device was not asked"


async def test_images_that_wait_are_bounded_in_bytes(make_toy, serve, make_embedder, refused) -> None:
    toy = make_toy()
    embedder = make_embedder(toy)
    entered, leave = threading.Event(), threading.Event()
    embed = embedder.embed

    def slowly(files: list[bytes]) -> Any:
        entered.set()
        assert leave.wait(60)
        return embed([file[:1] for file in files])

    embedder.embed = slowly
    picture = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7" * 600]))
    limits = Limits(max_queue_bytes=1000)
    async with serve(toy, open_embedder=lambda reader, space: embedder, limits=limits) as served:
        first = asyncio.ensure_future(served.neighbors(picture, 3))
        await until(entered.is_set)
        second = asyncio.ensure_future(served.neighbors(picture, 3))
        await until(lambda: served.app.queues()["embedding"] == 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.neighbors(picture, 3)
        error = refused(caught.value)
        assert error.code is CODE.RESOURCE_EXHAUSTED
        assert "600 bytes of this peer are queued and the limit is 1000" in error.message
        leave.set()
        for reply in (await first, await second):
            assert wire.decode(reply.neighbors.ids)[0] == toy.ids[7]


class TestCallersThatMisbehave:
    async def test_stalled_message_times_out(self, make_toy, serve) -> None:
        async with serve(make_toy(), limits=Limits(max_receive_ms=2000)) as served:
            caller = await asyncio.to_thread(RawCaller, served.app.address)
            for _ in range(20):
                await asyncio.to_thread(caller.call, SEARCH, bytes(10_000), 5_000)
            await until(lambda: bool(accounts(served)) and next(iter(accounts(served).values())).calls == 20)
            await until(lambda: not accounts(served))
            assert served.app.calls_in_flight == 0
            caller.close()

    async def test_cut_connection_leaves_nothing(self, make_toy, serve) -> None:
        async with serve(make_toy()) as served:
            await served.neighbors(one(), 3)
            tasks, files = len(asyncio.all_tasks()), open_files()
            callers = [await asyncio.to_thread(RawCaller, served.app.address) for _ in range(20)]
            for caller in callers:
                await asyncio.to_thread(caller.call, SEARCH, bytes(10_000), 5_000)
            await until(lambda: served.app.calls_in_flight == 20)
            for caller in callers:
                caller.close()
            await until(lambda: served.app.calls_in_flight == 0 and not accounts(served))
            await until(lambda: len(asyncio.all_tasks()) <= tasks and open_files() <= files)
            assert list((await served.neighbors(one(), 3)).neighbors.counts) == [3]

    async def test_stalled_reader_is_bounded_and_disconnected(self, make_toy, serve) -> None:
        toy = make_toy()
        limits = Limits(max_peer_bytes=5_000_000)
        connections = Connections(age=2.0, last=0.5)
        query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5] * 200))
        fields = search_pb2.NeighborFields(keys=True, labels=True, uris=True)
        request = search_pb2.SearchRequest(query=query, k=100, fields=fields, include_self=True).SerializeToString()
        async with serve(toy, limits=limits, connections=connections) as served:
            caller = await asyncio.to_thread(RawCaller, served.app.address, 0)
            highest = 0
            for _ in range(10):
                await asyncio.to_thread(caller.call, SEARCH, request)
            async with asyncio.timeout(60):
                while served.app.calls_in_flight or not highest:
                    highest = max([highest, *(account.bytes for account in accounts(served).values())])
                    await asyncio.sleep(0.01)
            assert 0 < highest <= limits.max_peer_bytes
            assert not accounts(served)
            caller.close()

    async def test_dead_connection_is_closed(self, make_toy, serve) -> None:
        connections = Connections(ping=0.2, answer=0.2)
        async with serve(make_toy(), connections=connections) as served:
            # It opens a connection and then sends nothing, as if a cable was pulled. By default, gRPC would
            # wait for a minute.
            host, port = served.app.address.rsplit(":", 1)
            dead = socket.create_connection((host, int(port)), timeout=30)
            dead.sendall(GREETING)
            assert await asyncio.to_thread(read_to_the_end, dead), "the server closed it"
            dead.close()

    async def test_thousand_idle_connections_cost_little_and_are_closed(self, make_toy, serve) -> None:
        async with serve(make_toy(), connections=Connections(idle=2.0)) as served:
            await served.neighbors(one(), 3)
            host, port = served.app.address.rsplit(":", 1)
            memory, files = psutil.Process().memory_info().rss, open_files()
            idle = []
            for _ in range(1000):
                idle.append(socket.create_connection((host, int(port)), timeout=60))
                idle[-1].sendall(GREETING)
                await asyncio.sleep(0)
            assert list((await served.neighbors(one(), 3)).neighbors.counts) == [3]
            grown = psutil.Process().memory_info().rss - memory
            assert grown < 200 * MIB, f"{grown / MIB:.0f} MiB"
            for connection in idle:
                assert await asyncio.to_thread(read_to_the_end, connection)
                connection.close()
            await until(lambda: open_files() <= files + 2)
            assert list((await served.neighbors(one(), 3)).neighbors.counts) == [3]


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def read_to_the_end(connection: socket.socket) -> bool:
    """Return True if the other end closes the connection."""
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True
