"""A reply that may be too large is rejected before any search, and counted with its code."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from tests.server.raw_caller import RawCaller

import lookalike.aio
from lookalike.v1 import cluster_pb2, collection_pb2, search_pb2, types_pb2
from lookalike_server.common.limits import MIB, Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.placement.searcher import OnDevice

CODE = grpc.StatusCode
SMALL = Limits(max_message_bytes=MIB // 2)
KEYS = search_pb2.NeighborFields(keys=True)


@pytest.fixture
def long_keys(make_toy, monkeypatch):
    """500 images with keys of about 300 bytes."""
    from tests.server import conftest

    monkeypatch.setattr(conftest.Toy, "key", lambda toy, number: f"{number:06d}/" + "k" * 293)
    return make_toy(clusters=2)


def vectors(toy: Any, by_vector: Any, count: int) -> types_pb2.QueryBatch:
    return by_vector(toy.vectors[np.arange(count) % len(toy.vectors)])


async def test_mismatch_is_rejected_before_the_search_with_the_remedy(
    long_keys, serve, by_vector, refused, monkeypatch
) -> None:
    searched: list[int] = []
    search = OnDevice.search
    monkeypatch.setattr(
        OnDevice, "search", lambda index, *given: searched.append(len(given[0])) or search(index, *given)
    )
    async with serve(long_keys, limits=SMALL) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.neighbors(vectors(long_keys, by_vector, 20), 100, fields=KEYS)
        found = refused(caught.value)
        assert (found.code, found.fields) == (CODE.INVALID_ARGUMENT, ["k"])
        assert found.message.startswith("The reply to 20 queries with 100 images each may have ")
        assert found.message.endswith("which is max_message_bytes; request fewer, or without keys.")
        assert searched == []
        # The number in the sentence.
        fewer = await served.neighbors(vectors(long_keys, by_vector, 10), 100, fields=KEYS)
        assert len(fewer.neighbors.keys) == 1000
        without = await served.neighbors(vectors(long_keys, by_vector, 20), 100)
        assert sum(without.neighbors.counts) == 2000


async def test_client_splits_a_batch_with_too_large_a_reply(long_keys, serve) -> None:
    wanted = long_keys.vectors[np.arange(40) % len(long_keys.vectors)]
    async with serve(long_keys, limits=SMALL) as served, lookalike.aio.Client(served.app.address) as client:
        found = await client.search(vectors=wanted, k=100)
        homes = await client.membership(vectors=wanted, members=100)
        assert found.counts.tolist() == [100] * 40
        assert found[39].ids.tolist() == (await client.search(vector=wanted[39], k=100)).ids.tolist()
        assert [len(home.nearest[0]) for home in homes] == [100] * 40
    async with (
        serve(long_keys, limits=Limits(max_message_bytes=100_000)) as served,
        lookalike.aio.Client(served.app.address) as client,
    ):
        with pytest.raises(lookalike.MessageTooLargeError, match=r"^The reply to 1 queries .* request fewer"):
            await client.search(vectors=wanted, k=500)


async def test_membership_reply_that_would_be_too_large_is_rejected(long_keys, serve, by_vector, refused) -> None:
    async with serve(long_keys, limits=SMALL) as served:
        for query in (vectors(long_keys, by_vector, 20), types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5] * 20))):
            request = cluster_pb2.GetMembershipRequest(query=query, members=100)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.cluster.GetMembership(request)
            found = refused(caught.value)
            assert (found.code, found.fields) == (CODE.INVALID_ARGUMENT, ["members"])
            request.members = 50
            assert len((await served.cluster.GetMembership(request)).memberships[0].nearest) == 20


async def test_reply_over_the_message_limit_is_rejected_and_counted_as_such(long_keys, serve, refused) -> None:
    limits = Limits(max_message_bytes=100_000)
    async with serve(long_keys, limits=limits, observe=ObserveSettings(metrics_port=0)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.collection.ListImages(collection_pb2.ListImagesRequest(page_size=500))
        found = refused(caught.value)
        assert (found.code, "which is max_message_bytes; request fewer images" in found.message) == (
            CODE.INVALID_ARGUMENT,
            True,
        )
        # The server counts a call after its caller has the reply.
        while not (counted := metrics(served, "ListImages")):
            await asyncio.sleep(0.05)
        assert counted == {"INVALID_ARGUMENT": 1}


def metrics(served: Any, method: str) -> dict[str, int]:
    """Return the number of calls of a method by code."""
    connection = http.client.HTTPConnection("127.0.0.1", served.app.metrics_port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    counts = {}
    for line in text.splitlines():
        if line.startswith("lookalike_call_seconds_count{") and f'/{method}"' in line:
            counts[line.split('code="')[1].split('"')[0]] = int(float(line.rpartition(" ")[2]))
    return counts


SEARCH = "/lookalike.v1.SearchService/Search"


@pytest.mark.parametrize(("leaves", "code"), [(True, "CANCELLED"), (False, "DEADLINE_EXCEEDED")])
async def test_unread_reply_is_counted_by_its_outcome(make_toy, serve, by_vector, leaves, code) -> None:
    toy = make_toy(np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32), part_rows=2000)
    request = search_pb2.SearchRequest(query=vectors(toy, by_vector, 256), k=1000)
    async with serve(toy, observe=ObserveSettings(metrics_port=0)) as served:
        caller = await asyncio.to_thread(RawCaller, served.app.address, 0)
        await asyncio.to_thread(caller.call, SEARCH, request.SerializeToString(), timeout="60S" if leaves else "3S")
        # 3 MB of reply, of which the caller reads nothing.
        await until(lambda: served.app.admission.held_bytes > 3_000_000)
        if leaves:
            caller.close()
        await until(lambda: served.app.calls_in_flight == 0)
        assert await asyncio.to_thread(metrics, served, "Search") == {code: 1}
        caller.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
