"""Messages that never end, and long calls, use a bounded part of a server's memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.server.raw_caller import Flood, RawCaller

from lookalike.v1 import collection_pb2, types_pb2
from lookalike_server.common.limits import MIB, Limits
from lookalike_server.transport.fair_slots import FairSlots

SEARCH = "/lookalike.v1.SearchService/Search"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING = health_pb2.HealthCheckResponse.SERVING
# Four messages of a peer at a time, eight of all peers.
SMALL = Limits(max_unary_bytes=16 * MIB, max_peer_bytes=128 * MIB, max_bytes=512 * MIB)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def one(number: int = 5) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[number]))


@asynccontextmanager
async def flooding(served: Any, method: str, calls: int, *sources: str) -> AsyncIterator[list[Flood]]:
    """Run connections that begin calls of 15 MiB each, in a thread, while the block runs."""
    floods = [await asyncio.to_thread(Flood, served.app.address, method, calls, 15 * MIB, source) for source in sources]
    ended = threading.Event()
    sending = [asyncio.create_task(asyncio.to_thread(flood.run, 120, ended.is_set)) for flood in floods]
    try:
        yield floods
    finally:
        ended.set()
        await asyncio.gather(*sending, return_exceptions=True)
        for flood in floods:
            flood.close()


@pytest.mark.parametrize("method", [SEARCH, WATCH])
async def test_endless_messages_hold_at_most_the_share_of_a_peer(make_toy, serve, method) -> None:
    async with serve(make_toy(), limits=SMALL) as served:
        await served.neighbors(one(), 3)
        before = psutil.Process().memory_info().rss
        async with flooding(served, method, 24, "127.0.0.1") as (flood,):
            await until(lambda: flood.sent > 25 * MIB)
            for _ in range(20):
                # From the same address, on another connection: it gets the place that one connection cannot use.
                assert list((await served.neighbors(one(), 3)).neighbors.counts) == [3]
                await asyncio.sleep(0.02)
            assert served.app.admission.arriving <= 4
            grown = psutil.Process().memory_info().rss - before
            # Three messages and 21 windows; gRPC took 360 MiB before.
            assert grown < 150 * MIB, f"{grown / MIB:.0f} MiB"
        await until(lambda: not served.app.admission.accounts and not served.app.admission.streams)
        assert served.app.admission.arriving == 0


async def test_lone_caller_has_its_turn_though_all_places_of_its_address_are_taken(make_toy, serve) -> None:
    async with (
        serve(make_toy(), limits=SMALL) as served,
        flooding(served, SEARCH, 6, "127.0.0.1", "127.0.0.1") as floods,
    ):
        await until(lambda: served.app.admission.arriving == 4)
        assert list((await served.neighbors(one(), 3)).neighbors.counts) == [3]
        # A connection with several places had to give one up, and got an error.
        await until(lambda: sum(flood.ended for flood in floods) >= 1)


async def test_other_peers_have_turns_though_two_take_all_places(make_toy, serve) -> None:
    async with (
        serve(make_toy(), limits=SMALL) as served,
        flooding(served, SEARCH, 6, *["127.0.0.2"] * 2, *["127.0.0.3"] * 2),
    ):
        await until(lambda: served.app.admission.arriving == 8)
        assert list((await served.neighbors(one(), 3)).neighbors.counts) == [3]


async def test_one_connection_cannot_have_all_calls_of_its_address(make_toy, serve) -> None:
    limits = Limits(max_peer_calls=200)
    async with serve(make_toy(), limits=limits) as served:
        caller = await asyncio.to_thread(Flood, served.app.address, SEARCH, 300, 100_000)
        await asyncio.to_thread(caller.run, 120, lambda: caller.ended >= 150)
        (account,) = served.app.admission.accounts.values()
        assert account.calls == 150
        await served.collection.GetCollection(collection_pb2.GetCollectionRequest())
        caller.close()
        await until(lambda: served.app.calls_in_flight == 0 and not served.app.admission.accounts)


async def test_health_watches_are_bounded_for_each_peer_and_in_all(make_toy, serve, refused) -> None:
    limits = Limits(max_peer_streams=3, max_streams=4)
    async with serve(make_toy(), limits=limits) as served:
        health = health_pb2_grpc.HealthStub(served.channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        for watch in watches:
            assert (await watch.read()).status == SERVING
        assert served.app.admission.streams == 3
        with pytest.raises(grpc.aio.AioRpcError, match="3 long-lived calls open, which is max_peer_streams") as caught:
            await health.Watch(health_pb2.HealthCheckRequest()).read()
        assert refused(caught.value).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        # Another peer has its own share, so it does not cause a rejection of the third.
        others = [await asyncio.to_thread(RawCaller, served.app.address, source=f"127.0.0.{n}") for n in (2, 3)]
        # Two of the one peer, and one of the other: an equal share each, though four are allowed in total.
        for other, streams in zip(others, (5, 6), strict=True):
            for _ in range(2):
                await asyncio.to_thread(other.call, WATCH, b"")
            await until(lambda streams=streams: served.app.admission.streams == streams)
        watches[0].cancel()
        await until(lambda: served.app.admission.streams == 5)
        for other in others:
            other.close()
        await until(lambda: served.app.admission.streams == 2)
        assert (await health.Watch(health_pb2.HealthCheckRequest()).read()).status == SERVING


async def test_reflection_answers_and_counts(make_toy, serve) -> None:
    async with serve(make_toy()) as served:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        call = stub.ServerReflectionInfo()
        for _ in range(2):
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            names = [service.name for service in (await call.read()).list_services_response.service]
            assert "lookalike.v1.SearchService" in names
        assert served.app.admission.streams == 1
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        await until(lambda: served.app.admission.streams == 0)


async def test_places_rotate_and_one_holder_cannot_take_all() -> None:
    places = FairSlots(3, 2)
    order: list[str] = []

    async def hold(holder: str, gate: asyncio.Event) -> None:
        await places.reserve(holder)
        order.append(holder)
        await gate.wait()
        places.release(holder)

    gate, rest = asyncio.Event(), asyncio.Event()
    first = [asyncio.create_task(hold("a", gate)) for _ in range(2)]
    later = [asyncio.create_task(hold(holder, rest)) for holder in "aaabbcc"]
    await asyncio.sleep(0)
    assert order == ["a", "a", "b"], "one place is left for another holder"
    later[2].cancel()
    gate.set()
    rest.set()
    await asyncio.gather(*first, *later, return_exceptions=True)
    assert sorted(order) == sorted("aab" + "aa" + "b" + "cc")
    assert not places.held
    assert not places.waiting
    await places.reserve("a")
    assert places.held["a"] == 1
