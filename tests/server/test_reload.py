from __future__ import annotations

import asyncio
import dataclasses
import gc
import signal
import subprocess
import sys
import threading
import time
import weakref

import grpc
import numpy as np
import psutil
import pytest

from lookalike import wire
from lookalike.v1 import search_pb2, search_pb2_grpc, server_pb2, types_pb2
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.loader import Loader


def vectors(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)


async def until(condition, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_generations_change_under_load_without_a_failed_or_mixed_reply(make_toy, serve, by_vector) -> None:
    toys = {1: make_toy(vectors(300, 1), clusters=3)}
    asked = vectors(40, 99)
    replies: list[tuple[int, search_pb2.SearchResponse]] = []
    done = False

    async with serve(toys[1]) as served:

        async def caller(number: int) -> None:
            position = number
            while not done:
                position = (position + 1) % len(asked)
                fields = search_pb2.NeighborFields(keys=True)
                reply = await served.neighbors(by_vector(asked[[position]]), 5, fields=fields)
                replies.append((position, reply))

        callers = [asyncio.ensure_future(caller(number)) for number in range(16)]

        def answered_by(generation: int) -> bool:
            return any(reply.served.generation == generation for _, reply in replies[-200:])

        for generation in (2, 3, 4):
            await until(lambda before=generation - 1: answered_by(before), 60)
            index = "IVF8,Flat" if generation == 3 else "Flat"
            rows = 200 + 50 * generation
            toys[generation] = make_toy(vectors(rows, generation), index=index, default_nprobe=8, clusters=2)
            await until(lambda wanted=generation: served.app.current.snapshot.generation == wanted, 60)
        await until(lambda: answered_by(4), 60)
        done = True
        await asyncio.gather(*callers)
        assert served.app.current.generations == [4]

    seen = {reply.served.generation for _, reply in replies}
    assert seen == {1, 2, 3, 4}
    truth = {generation: toy.brute_force(asked, 5) for generation, toy in toys.items()}
    for position, reply in replies:
        ids, distances = truth[reply.served.generation]
        np.testing.assert_array_equal(wire.decode(reply.neighbors.ids), ids[position])
        np.testing.assert_allclose(wire.decode(reply.neighbors.distances), distances[position], atol=2e-6)
        assert list(reply.neighbors.keys) == [toys[1].key(one) for one in ids[position]]


async def test_old_generation_is_freed_after_its_last_call(make_toy, serve, by_vector) -> None:
    toy = make_toy()
    async with serve(toy) as served:
        await served.neighbors(by_vector(vectors(1, 5)), 3)
        old = weakref.ref(served.app.current.snapshot)
        columns = weakref.ref(served.app.current.snapshot.columns)
        with served.app.current.lease() as leased:
            make_toy(vectors(50, 7))
            await served.app.first.reloader.follow()
            assert served.app.current.generations == [1, 2]
            plan = leased.space().planner.plan(_no_effort(), served.app._settings.limits)
            hits = leased.space().engine.search(vectors(1, 5), 3, plan)
            assert hits.rows.shape == (1, 3)
            del hits, leased
        assert served.app.current.generations == [2]

        def let_go() -> bool:
            gc.collect()
            return old() is None and columns() is None

        await until(let_go)
        reply = await served.neighbors(by_vector(vectors(1, 5)), 3)
        assert reply.served.generation == 2


def _no_effort():
    from lookalike_server.search.effort import Effort

    return Effort()


async def test_reload_closes_the_old_network_and_opens_the_new_one(make_toy, serve, make_embedder) -> None:
    toy = make_toy()
    opened = []

    def open_embedder(reader, space):
        embedder = make_embedder(toy)
        embedder.fingerprint = reader.manifest.spaces[space].fingerprint
        opened.append(embedder)
        return embedder

    async with serve(toy, open_embedder=open_embedder):
        await until(lambda: len(opened) == 1)
        publish_changed(toy, lambda manifest: with_space(manifest, fingerprint="f" * 64))
        await until(lambda: len(opened) == 2)
        assert opened[0].closed
        assert opened[1].fingerprint == "f" * 64
        assert not opened[1].closed


def publish_changed(toy, change) -> None:
    reader = CollectionReader.open(str(toy.root))
    generations.publish(toy.storage, change(reader.manifest))


def with_space(manifest, **changes):
    space = dataclasses.replace(manifest.spaces["tiny"], **changes)
    return dataclasses.replace(manifest, spaces={"tiny": space})


def with_an_index_of_other_rows(manifest):
    """The index has 500 vectors, but its manifest entry names 200 embeddings."""
    entry = manifest.indexes["tiny/main"]
    entry = dataclasses.replace(entry, parts=manifest.spaces["tiny"].parts[:1])
    return dataclasses.replace(manifest, indexes={"tiny/main": entry})


async def test_generation_with_a_mismatched_index_is_not_served(make_toy, serve, by_vector, caplog) -> None:
    toy = make_toy()
    async with serve(toy) as served:
        publish_changed(toy, with_an_index_of_other_rows)
        await until(lambda: "generation 2 cannot be served" in caplog.text)
        assert "The index tiny/main has 500 rows, and its embeddings have 200" in caplog.text
        assert "lookalike build" in caplog.text
        assert (await served.neighbors(by_vector(vectors(1, 5)), 3)).served.generation == 1
        make_toy(vectors(100, 3))
        await until(lambda: served.app.current.snapshot.generation == 3)


async def test_failed_load_leaves_no_thread(make_toy, serve, monkeypatch) -> None:
    toy = make_toy()
    async with serve(toy) as served:
        before = engine_threads()
        assert before >= 2

        def unreadable(reader, space=""):
            raise DataLossError("The part cannot be read.")

        monkeypatch.setattr(CollectionReader, "ids", unreadable)
        with pytest.raises(DataLossError):
            await asyncio.to_thread(served.app.first.loader.load, CollectionReader.open(str(toy.root)))
        assert engine_threads() == before


def engine_threads() -> int:
    return sum(thread.name.startswith(("search/", "scan/")) for thread in threading.enumerate())


async def given_up(served, loads) -> None:
    """Request a reload, and cancel the call once the load is in progress, however slow the machine is."""
    asked = served.server.Reload(server_pb2.ReloadRequest())
    ended = asyncio.ensure_future(asked)
    await until(lambda: loads.begun == 1)
    asked.cancel()
    await asyncio.wait([ended])


class TestReloads:
    """Callers of Reload while a generation is loading, which takes until `go_on` is set."""

    @pytest.fixture
    def loads(self, monkeypatch):
        class Loads:
            go_on = threading.Event()
            under_way = most = begun = 0
            fails = False

        counted, lock, load = Loads(), threading.Lock(), Loader.load

        def slow(loader, reader, **given):
            if reader.manifest.generation == 1:
                return load(loader, reader, **given)
            with lock:
                counted.begun += 1
                counted.under_way += 1
                counted.most = max(counted.most, counted.under_way)
            try:
                assert counted.go_on.wait(60)
                if counted.fails:
                    raise DataLossError("The index is not what was written.")
                return load(loader, reader, **given)
            finally:
                with lock:
                    counted.under_way -= 1

        monkeypatch.setattr(Loader, "load", slow)
        yield counted
        counted.go_on.set()

    async def test_cancelled_reloads_leave_one_load_that_is_served(self, make_toy, serve, loads) -> None:
        toy = make_toy()
        async with serve(toy, watch=3600) as served:
            make_toy(toy.vectors[:100])
            await given_up(served, loads)
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.server.Reload(server_pb2.ReloadRequest(), timeout=0.15)
                assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert (loads.begun, loads.under_way) == (1, 1)
            loads.go_on.set()
            await until(lambda: served.app.current.generations == [2])
            assert (await served.server.Reload(server_pb2.ReloadRequest())).generation == 2
        assert (loads.begun, loads.most) == (1, 1)

    async def test_hung_reload_times_out_and_its_generation_is_served_later(
        self, make_toy, serve, loads, refused, caplog
    ) -> None:
        toy = make_toy()
        async with serve(toy, watch=3600, limits=Limits(max_load_ms=300)) as served:
            make_toy(toy.vectors[:100])
            # The second caller gets an error immediately: nothing else starts while the thread has not returned.
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError, match=r"longer than 0\.3 s, which is max_load_ms") as caught:
                    await served.server.Reload(server_pb2.ReloadRequest())
                assert refused(caught.value).code == grpc.StatusCode.UNAVAILABLE
            assert loads.begun == 1
            assert served.app.current.generations == [1]
            assert "max_load_ms" in caplog.text
            loads.go_on.set()
            await until(lambda: not loads.under_way)

            async def served_now() -> bool:
                try:
                    return (await served.server.Reload(server_pb2.ReloadRequest())).generation == 2
                except grpc.aio.AioRpcError:
                    return False

            async with asyncio.timeout(60):
                while not await served_now():
                    await asyncio.sleep(0.02)

    async def test_reload_that_ends_at_its_deadline_is_served(self, make_toy, serve, loads, refused) -> None:
        toy = make_toy()
        async with serve(toy, watch=3600, limits=Limits(max_load_ms=500)) as served:
            make_toy(toy.vectors[:100])
            asked = asyncio.ensure_future(served.server.Reload(server_pb2.ReloadRequest()))
            await until(lambda: loads.begun == 1)
            loads.go_on.set()
            # The event loop learns of both at the same time.
            time.sleep(0.6)
            while loads.under_way:
                time.sleep(0.01)
            (outcome,) = await asyncio.gather(asked, return_exceptions=True)
            # A machine that stalled before has used up the time.
            if not isinstance(outcome, grpc.aio.AioRpcError) or refused(outcome).code != grpc.StatusCode.UNAVAILABLE:
                assert outcome.generation == 2

    async def test_concurrent_reload_calls_share_one_load(self, make_toy, serve, loads) -> None:
        toy = make_toy()
        async with serve(toy, watch=3600) as served:
            make_toy(toy.vectors[:100])
            asked = [asyncio.ensure_future(served.server.Reload(server_pb2.ReloadRequest())) for _ in range(5)]
            await until(lambda: loads.begun == 1)
            gone = asyncio.ensure_future(served.server.Reload(server_pb2.ReloadRequest(), timeout=0.05))
            await asyncio.wait([gone])
            loads.go_on.set()
            replies = await asyncio.gather(*asked)
        assert {reply.generation for reply in replies} == {2}
        assert loads.begun == 1

    async def test_reload_for_a_later_generation_loads_it(self, make_toy, serve, loads) -> None:
        toy = make_toy()
        async with serve(toy, watch=3600) as served:
            make_toy(toy.vectors[:100])
            first = asyncio.ensure_future(served.server.Reload(server_pb2.ReloadRequest()))
            await until(lambda: loads.begun == 1)
            make_toy(toy.vectors[:200])
            second = asyncio.ensure_future(served.server.Reload(server_pb2.ReloadRequest()))
            await until(lambda: served.app.calls_in_flight == 2)
            loads.go_on.set()
            assert [(await one).generation for one in (first, second)] == [2, 3]
        assert loads.most == 1

    async def test_failed_reload_is_reported_to_all_callers(self, make_toy, serve, loads) -> None:
        toy = make_toy()
        loads.fails = True
        async with serve(toy, watch=3600) as served:
            make_toy(toy.vectors[:100])
            asked = [asyncio.ensure_future(served.server.Reload(server_pb2.ReloadRequest())) for _ in range(3)]
            await until(lambda: loads.begun == 1 and served.app.calls_in_flight == 3)
            loads.go_on.set()
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [one.code() for one in outcomes] == [grpc.StatusCode.DATA_LOSS] * 3
            assert loads.most == 1
            loads.fails = False
            assert (await served.server.Reload(server_pb2.ReloadRequest())).generation == 2

    async def test_stopping_server_waits_for_no_reload(self, make_toy, serve, loads) -> None:
        toy = make_toy()
        before = set(threading.enumerate())
        async with serve(toy, watch=3600) as served:
            make_toy(toy.vectors[:100])
            await given_up(served, loads)
        loads.go_on.set()
        await until(lambda: not [one for one in set(threading.enumerate()) - before if one.name.startswith("search")])


async def test_unloadable_generation_leaves_the_old_generation(make_toy, serve, by_vector, caplog) -> None:
    toy = make_toy()
    async with serve(toy) as served:
        make_toy(vectors(100, 3))
        reader = CollectionReader.open(str(toy.root))
        path = reader.storage.local(reader.index().path)
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        # The watcher may have seen it before the damage; only what is served from now on matters.
        if served.app.current.snapshot.generation == 1:
            await until(lambda: "generation 2 cannot be served" in caplog.text)
            await asyncio.sleep(0.2)
            assert caplog.text.count("generation 2 cannot be served") == 1
            assert "digest" in caplog.text
            assert (await served.neighbors(by_vector(vectors(1, 5)), 3)).served.generation == 1
            path.write_bytes(good)
            served.app.reload()
        await until(lambda: served.app.current.snapshot.generation == 2)
        assert (await served.neighbors(by_vector(vectors(1, 5)), 3)).served.generation == 2


# `lookalike serve` without a network: each generation would start its process, which takes seconds, and delays the
# next look for a generation.
SERVE = """
import asyncio, sys
from lookalike_indexer.errors import WeightsError
from lookalike_server import served_collection
from lookalike_server.commands import lifecycle as running
from lookalike_server.common.settings import Listen, ServeSettings
from lookalike_server.generation.verification import FileVerifier

def no_network(reader, space):
    raise WeightsError("There are no weights.")

served_collection.embedder_opener = lambda *_: no_network
settings = ServeSettings(sys.argv[1], Listen(port=0))
asyncio.run(running.run(settings, lambda served: print(served.address, flush=True), FileVerifier()))
"""


async def test_memory_returns_to_one_generations_size_after_swaps_under_load(make_toy) -> None:
    size = 16_000 * 256 * 4  # bytes of the index of one generation

    def make(seed: int):
        values = np.random.default_rng(seed).standard_normal((16_000, 256)).astype(np.float32)
        return make_toy(values, part_rows=8_000)

    # In a process of its own, since making generations takes memory, too.
    command = [sys.executable, "-c", SERVE, str(make(1).root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = await asyncio.to_thread(process.stdout.readline)
        async with grpc.aio.insecure_channel(address.strip()) as channel:
            stub = search_pb2_grpc.SearchServiceStub(channel)
            query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5]))
            served = [1]
            done = False

            async def caller() -> None:
                while not done:
                    # A failed call ends the test.
                    reply = await stub.Search(search_pb2.SearchRequest(query=query, k=5), timeout=60)
                    served[0] = reply.served.generation
                    # The generations are made on the same processors.
                    await asyncio.sleep(0.005)

            callers = [asyncio.ensure_future(caller()) for _ in range(2)]

            def memory() -> int:
                return psutil.Process(process.pid).memory_info().rss

            async def swap(generation: int) -> int:
                await asyncio.to_thread(make, generation)
                # Instead of waiting for its next poll.
                process.send_signal(signal.SIGHUP)
                await until(lambda: served[0] == generation, 120)
                # The memory of the old generation is freed with a delay.
                await asyncio.sleep(0.5)
                return memory()

            # The first swaps load modules and memory that stay.
            before = [await swap(generation) for generation in range(2, 4)][-1]
            for generation in range(4, 12):
                await swap(generation)
            # Eight generations that stayed would be 131 MB and more; the allocator's own memory varies by 54.
            await until(lambda: memory() - before < 5 * size)
            done = True
            await asyncio.gather(*callers)
    finally:
        process.kill()
        process.communicate()
