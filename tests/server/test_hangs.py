"""Processes, threads and calls that hang: who gets an error, health, and replacement."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike import wire
from lookalike.v1 import experiment_pb2, search_pb2, types_pb2
from lookalike_server.columns.stored_vectors import StoredVectors
from lookalike_server.common.limits import Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.search import lanes

CODE = grpc.StatusCode
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
EXPERIMENTS = "lookalike.v1.ExperimentService"
SEARCH = "lookalike.v1.SearchService"


async def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def until_health(served: Any, status: int, service: str = "") -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    async with asyncio.timeout(120):
        while (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status != status:
            await asyncio.sleep(0.01)


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return CODE.OK


def one(number: int = 5) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[number]))


def search(query: types_pb2.QueryBatch) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(query=query, k=3)


class TestExperiments:
    # The process may be silent for six times as long, as a busy machine may make it.
    LIMITS = Limits(max_silence_ms=1000)

    @staticmethod
    def process(served: Any) -> Any:
        return served.app.first.experiment_runner._worker._process

    async def test_hung_process_is_killed_and_another_answers(self, make_toy, serve, refused) -> None:
        async with serve(make_toy(clusters=3), limits=self.LIMITS) as served:
            stub = served.experiment
            await stub.GetClassMatrix(experiment_pb2.GetClassMatrixRequest())
            first = self.process(served)
            os.kill(first.pid, signal.SIGSTOP)
            asked = asyncio.ensure_future(stub.ListOddballs(experiment_pb2.ListOddballsRequest(limit=3)))
            await until_health(served, NOT_SERVING, EXPERIMENTS)
            assert await code_of(served.neighbors(one(), 3)) is CODE.OK
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asked
            found = refused(caught.value)
            assert (found.code, "sent no heartbeat for 6 s" in found.message) == (CODE.UNAVAILABLE, True)
            await until_health(served, SERVING, EXPERIMENTS)
            assert await code_of(stub.ListOddballs(experiment_pb2.ListOddballsRequest(limit=3))) is CODE.OK
            assert self.process(served).pid != first.pid
            assert served.app.hangs.counts == {"experiments": 1}

    async def test_process_hung_while_idle_does_not_affect_the_next_call(self, make_toy, serve) -> None:
        async with serve(make_toy(clusters=3), limits=self.LIMITS) as served:
            stub = served.experiment
            await stub.GetClassMatrix(experiment_pb2.GetClassMatrixRequest())
            os.kill(self.process(served).pid, signal.SIGSTOP)
            await until(lambda: served.app.hangs.counts == {"experiments": 1})
            assert await code_of(stub.ListOddballs(experiment_pb2.ListOddballsRequest(limit=3))) is CODE.OK

    async def test_slow_experiment_is_ended_and_reported(self, make_toy, serve, refused) -> None:
        # A stopped process never answers, and its silence is allowed for longer than the limit.
        limits = Limits(max_experiment_ms=2000, max_silence_ms=600_000)
        async with serve(make_toy(clusters=3), limits=limits) as served:
            stub = served.experiment
            # On a busy machine, the first call may also exceed the limit, because it imports libraries.
            while await code_of(stub.GetClassMatrix(experiment_pb2.GetClassMatrixRequest())) is not CODE.OK:
                pass
            os.kill(self.process(served).pid, signal.SIGSTOP)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.SplitLabel(experiment_pb2.SplitLabelRequest(label="label1", k=3))
            found = refused(caught.value)
        assert found.code is CODE.DEADLINE_EXCEEDED
        assert "longer than 2 s, which is max_experiment_ms, and was stopped; request less" in found.message


class Hanging:
    """A device whose searches do not return while it hangs; at the Device seam."""

    max_selection = None

    def __init__(self, name: str = "cuda:0") -> None:
        self.name = name
        self.works = threading.Event()
        self.works.set()
        self.entered = 0

    def host(self, index: Any) -> Any:
        hanging = self

        class Hosted(type(index)):
            def search(self, values, k, *, params=None):
                hanging.entered += 1
                assert hanging.works.wait(120)
                return super().search(values, k, params=params)

        hosted = Hosted(index.d)
        hosted.add(index.reconstruct_n(0, index.ntotal))
        return hosted


class TestDevices:
    LIMITS = Limits(max_search_ms=1500)

    async def test_callers_get_an_error_while_a_device_thread_hangs(self, make_toy, serve, by_vector, refused) -> None:
        toy, device = make_toy(), Hanging()
        query = by_vector(toy.vectors[[0]])
        async with serve(toy, placement="gpu", devices=[device], limits=self.LIMITS) as served:
            await served.neighbors(query, 3)
            device.works.clear()
            try:
                hanging = asyncio.ensure_future(served.neighbors(query, 3))
                await until(lambda: device.entered == 2)
                waiting = asyncio.ensure_future(served.neighbors(query, 3))
                for call in (hanging, waiting):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call
                    found = refused(caught.value)
                    assert (found.code, "search/cuda:0 has not returned" in found.message) == (CODE.UNAVAILABLE, True)
                await until_health(served, NOT_SERVING, SEARCH)
                assert await code_of(served.neighbors(query, 3)) is CODE.UNAVAILABLE
                assert device.entered == 2, "told at once, without asking the device"
                assert served.app.hangs.counts == {"search": 1}
            finally:
                device.works.set()
            await until_health(served, SERVING, SEARCH)
            reply = await served.neighbors(query, 3)
            assert list(reply.neighbors.counts) == [3]

    async def test_other_copies_continue_when_one_hangs(self, make_toy, serve, by_vector) -> None:
        toy, devices = make_toy(), [Hanging("cuda:0"), Hanging("cuda:1")]
        query = by_vector(toy.vectors[[0]])
        async with serve(toy, placement="replicate", devices=devices, limits=self.LIMITS) as served:
            devices[0].works.clear()
            try:
                # One after another, so that no batch has two, until it has taken one, which hangs.
                codes = []
                while not codes or codes[-1] is CODE.OK:
                    codes.append(await code_of(served.neighbors(query, 3)))
                assert codes[-1] is CODE.UNAVAILABLE
                assert devices[0].entered
                replies = await asyncio.gather(*[served.neighbors(query, 3) for _ in range(20)])
                assert {reply.served.device for reply in replies} == {"cuda:1"}
                await until_health(served, SERVING, SEARCH)
            finally:
                devices[0].works.set()

    async def test_processor_replaces_a_hung_device_if_allowed(self, make_toy, serve, by_vector) -> None:
        toy, device = make_toy(), Hanging()
        query = by_vector(toy.vectors[[0]])
        async with serve(toy, placement="gpu", devices=[device], on_loss="cpu", limits=self.LIMITS) as served:
            await served.neighbors(query, 3)
            device.works.clear()
            try:
                assert await code_of(served.neighbors(query, 3)) is CODE.UNAVAILABLE
                await until(lambda: not served.app._health.lost)
                reply = await served.neighbors(query, 3)
                assert reply.served.device == "cpu"
                assert wire.decode(reply.neighbors.ids).tolist() == toy.brute_force(toy.vectors[[0]], 3)[0][0].tolist()
                await until_health(served, SERVING, SEARCH)
            finally:
                device.works.set()
            # The hung thread returns, finds its replacement, and ends.
            await until(lambda: [one.name for one in threading.enumerate()].count("search/cuda:0") == 1)
            assert (await served.neighbors(query, 3)).served.device == "cpu"

    async def test_server_ends_on_a_hang_if_configured(self, make_toy, serve, by_vector) -> None:
        toy, device = make_toy(), Hanging()
        query = by_vector(toy.vectors[[0]])
        async with serve(toy, placement="gpu", devices=[device], on_loss="fail", limits=self.LIMITS) as served:
            device.works.clear()
            try:
                assert await code_of(served.neighbors(query, 3)) is CODE.UNAVAILABLE
                async with asyncio.timeout(60):
                    assert "search/cuda:0 has not returned" in await served.app.ending
            finally:
                device.works.set()

    async def test_hung_scan_does_not_block_the_index(self, make_toy, serve, by_vector, refused, monkeypatch) -> None:
        toy, works = make_toy(index="IVF4,PQ4"), threading.Event()
        query = by_vector(toy.vectors[[0]])

        def scan(*arguments: Any) -> Any:
            assert works.wait(120)
            return exact_search(*arguments)

        exact_search = lanes.exact_search
        monkeypatch.setattr(lanes, "exact_search", scan)
        async with serve(toy, limits=Limits(max_scan_ms=500)) as served:
            try:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.neighbors(query, 3, exact=True)
                assert "scan/cpu has not returned" in refused(caught.value).message
                assert await code_of(served.neighbors(query, 3, exact=True)) is CODE.UNAVAILABLE
                assert await code_of(served.neighbors(query, 3)) is CODE.OK
            finally:
                works.set()
            await until(lambda: not served.app.current.snapshot.space().engine._scanned.lost)
            assert await code_of(served.neighbors(query, 3, exact=True)) is CODE.OK


class TestWorkers:
    @pytest.fixture
    def disk(self, monkeypatch) -> Iterator[threading.Event]:
        """Make reads of stored vectors hang while the event is not set."""
        works = threading.Event()
        works.set()
        read = StoredVectors.read

        def maybe(stored: Any, rows: Any) -> Any:
            assert works.wait(120)
            return read(stored, rows)

        monkeypatch.setattr(StoredVectors, "read", maybe)
        yield works
        works.set()

    async def test_hung_worker_threads_are_replaced(self, make_toy, serve, disk, refused) -> None:
        async with serve(make_toy(), limits=Limits(max_read_ms=300)) as served:
            disk.clear()
            threads = served.app._workers._threads
            calls = [asyncio.ensure_future(served.neighbors(one(), 3)) for _ in range(threads)]
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                found = refused(caught.value)
                assert (found.code, "worked on this call for longer than 0.3 s" in found.message) == (
                    CODE.UNAVAILABLE,
                    True,
                )
            await until(lambda: served.app.hangs.counts == {"workers": 1})
            disk.set()
            assert await code_of(served.neighbors(one(), 3)) is CODE.OK

    async def test_hang_is_detected_although_its_callers_left(self, make_toy, serve, disk) -> None:
        """With deadlines far below the limit, all callers have gone when it passes."""
        async with serve(make_toy(), limits=Limits(max_read_ms=300)) as served:
            disk.clear()
            # On a busy machine some deadlines pass before the call has reached a thread.
            while not served.app.hangs.counts.get("workers"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await served.search.Search(search(one()), timeout=0.05)
            disk.set()
            assert await code_of(served.neighbors(one(), 3)) is CODE.OK

    async def test_calls_fail_immediately_if_hung_threads_cannot_be_replaced(
        self, make_toy, serve, disk, refused, monkeypatch
    ) -> None:
        monkeypatch.setattr("lookalike_server.batching.workers._MOST_POOLS", 1)
        async with serve(make_toy(), limits=Limits(max_read_ms=300)) as served:
            disk.clear()
            calls = [code_of(served.neighbors(one(), 3)) for _ in range(served.app._workers._threads)]
            assert set(await asyncio.gather(*calls)) == {CODE.UNAVAILABLE}
            await until(lambda: bool(served.app._workers.lost))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(one(), 3)
            assert "threads that read the disk hang" in refused(caught.value).message
            disk.set()
            await until(lambda: not served.app._workers.lost)
            assert await code_of(served.neighbors(one(), 3)) is CODE.OK


async def test_long_lease_of_a_generation_is_reported_once(make_toy, serve, caplog) -> None:
    observe = ObserveSettings(metrics_port=0)
    device = Hanging()
    toy = make_toy()
    limits = Limits(max_lease_ms=200)
    async with serve(toy, limits=limits, placement="gpu", devices=[device], observe=observe) as served:
        assert served.app.current.oldest_lease_s < 0.2
        device.works.clear()
        try:
            metadata = (("x-request-id", "the-slow-one"),)
            call = served.search.Search(search(one()), metadata=metadata)
            asked = asyncio.ensure_future(code_of(call))
            await until(lambda: "the-slow-one" in caplog.text)
            assert served.app.current.oldest_lease_s > 0.2
            make_toy(toy.vectors[:100].copy())
            await until(lambda: served.app.current.generations == [1, 2])
            await asyncio.sleep(0.5)
        finally:
            device.works.set()
        assert await asked is CODE.OK
        await until(lambda: served.app.current.generations == [2])
        lines = [line for line in caplog.messages if "the-slow-one" in line]
        assert lines == [
            "lookalike.v1.SearchService/Search the-slow-one has held generation 1 for longer than 0.2 s; "
            "it stays in memory until its release"
        ]
