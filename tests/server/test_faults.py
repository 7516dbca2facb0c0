"""Threads, processes and devices that die: who gets an error, health, and recovery."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike import wire
from lookalike.v1 import server_pb2, types_pb2
from lookalike_indexer.errors import DeviceError
from lookalike_server.app import App
from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Rules
from lookalike_server.common.settings import Listen, ServeSettings
from lookalike_server.transport.health import EMBEDDING

CODE = grpc.StatusCode
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Lossy:
    """A device that can be lost, or run out of memory; at the Device seam."""

    max_selection = None

    def __init__(self, name: str = "cuda:0") -> None:
        self.name = name
        self.lost = False
        self.hosted = 0
        self.failures = 0
        self.short_of_memory = 0

    def host(self, index: Any) -> Any:
        if self.lost:
            raise DeviceError(f"The index cannot be put on {self.name} (no such device).")
        self.hosted += 1
        lossy = self

        class Hosted(type(index)):
            def search(self, values, k, *, params=None):
                if lossy.lost or lossy.short_of_memory:
                    lossy.failures += 1
                    lossy.short_of_memory = max(0, lossy.short_of_memory - 1)
                    raise RuntimeError("Error in virtual void* allocMemory: cudaMalloc error out of memory [2]")
                return super().search(values, k, params=params)

        hosted = Hosted(index.d)
        hosted.add(index.reconstruct_n(0, index.ntotal))
        return hosted


def one(number: int = 5) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[number]))


async def health(served: Any, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(served.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def until_health(served: Any, status: int, service: str = "") -> None:
    async with asyncio.timeout(60):
        while await health(served, service) != status:
            await asyncio.sleep(0.01)


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return CODE.OK


class TestDeviceLoss:
    async def test_lost_device_is_unavailable_until_it_returns(self, make_toy, serve) -> None:
        toy, device = make_toy(), Lossy()
        async with serve(toy, placement="gpu", devices=[device]) as served:
            assert await code_of(served.neighbors(one(), 3)) is CODE.OK
            device.lost = True
            assert await code_of(served.neighbors(one(), 3)) is CODE.UNAVAILABLE
            await until_health(served, NOT_SERVING)
            assert await health(served, "toys") == NOT_SERVING
            assert await health(served, "lookalike.v1.SearchService") == NOT_SERVING
            assert await health(served, "lookalike.v1.CollectionService") == SERVING, "which needs no device"
            failures = device.failures
            assert await code_of(served.neighbors(one(), 3)) is CODE.UNAVAILABLE
            assert device.failures == failures, "told at once, without asking the device"
            device.lost = False
            await until_health(served, SERVING)
            reply = await served.neighbors(one(), 3)
            assert reply.served.device == "cuda:0"
            assert device.hosted == 2
            found = wire.decode(reply.neighbors.ids)
            np.testing.assert_array_equal(found, toy.brute_force(toy.vectors[[0]], 4)[0][0][1:])

    async def test_lost_device_is_logged_once(self, make_toy, serve, caplog) -> None:
        device = Lossy()
        with caplog.at_level(logging.INFO):
            async with serve(make_toy(), placement="gpu", devices=[device]) as served:
                device.lost = True
                codes = [await code_of(served.neighbors(one(), 3)) for _ in range(100)]
                await until_health(served, NOT_SERVING)
                # Until it was retried several times, too.
                await asyncio.sleep(1)
                codes += [await code_of(served.neighbors(one(), 3)) for _ in range(100)]
                assert set(codes) == {CODE.UNAVAILABLE}
                device.lost = False
                await until_health(served, SERVING)
        told = [line for line in caplog.records if line.levelno >= logging.WARNING and "weights" not in line.message]
        # The failed batch, the loss, rejections meanwhile, and health.
        assert len(told) <= 5, [line.message for line in told]
        assert len({line.message for line in told}) == len(told), "each said once"
        assert any("cannot be used; the server will retry" in line.message for line in told)
        assert not any(line.exc_info for line in told)
        told_health = [line for line in caplog.records if line.message.startswith("health of the server")]
        assert [(line.levelname, line.message) for line in told_health] == [
            ("WARNING", "health of the server, lookalike.v1.SearchService, toys: not serving"),
            ("INFO", "health of the server, lookalike.v1.SearchService, toys: serving"),
        ]

    async def test_waiting_calls_fail_when_the_device_is_lost(self, make_toy, serve) -> None:
        device = Lossy()
        async with serve(make_toy(), placement="gpu", devices=[device]) as served:
            device.lost = True
            codes = await asyncio.gather(*[code_of(served.neighbors(one(), 3)) for _ in range(50)])
            assert set(codes) == {CODE.UNAVAILABLE}
            assert served.app.queues()["search"] == 0

    async def test_device_short_of_memory_for_one_batch_keeps_its_index(self, make_toy, serve) -> None:
        device = Lossy()
        async with serve(make_toy(), placement="gpu", devices=[device]) as served:
            device.short_of_memory = 1
            assert await code_of(served.neighbors(one(), 3)) is CODE.UNAVAILABLE
            assert await code_of(served.neighbors(one(), 3)) is CODE.OK
            assert device.hosted == 1
            assert await health(served) == SERVING

    async def test_lost_device_fails_over_to_the_cpu_if_allowed(self, make_toy, serve) -> None:
        toy, device = make_toy(), Lossy()
        async with serve(toy, placement="gpu", devices=[device], on_loss="cpu") as served:
            assert (await served.neighbors(one(), 3)).served.device == "cuda:0"
            device.lost = True
            assert await code_of(served.neighbors(one(), 3)) is CODE.UNAVAILABLE
            await until(lambda: not served.app._health.lost)
            reply = await served.neighbors(one(), 3)
            assert reply.served.device == "cpu", "and the reply says so"
            assert list((await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())).devices) == ["cpu"]
            await until_health(served, SERVING)
            # A generation that appears while the device is lost is served as well.
            make_toy(toy.vectors[:100])
            await until(lambda: served.app.current.snapshot.generation == 2)
            assert (await served.neighbors(one(), 3)).served.device == "cpu"

    async def test_generation_is_served_when_its_device_returns(self, make_toy, serve) -> None:
        toy, device = make_toy(), Lossy()
        async with serve(toy, placement="gpu", devices=[device]) as served:
            device.lost = True
            make_toy(toy.vectors[:100])
            assert await code_of(served.server.Reload(server_pb2.ReloadRequest())) is CODE.UNAVAILABLE
            assert served.app.current.snapshot.generation == 1
            device.lost = False
            await until(lambda: served.app.current.snapshot.generation == 2)

    async def test_other_copies_continue_after_a_loss(self, make_toy, serve) -> None:
        devices = [Lossy("cuda:0"), Lossy("cuda:1")]
        async with serve(make_toy(), placement="replicate", devices=devices) as served:
            devices[0].lost = True
            # Until the lost one has failed a batch, and taken no more.
            while await code_of(served.neighbors(one(), 3)) is CODE.OK and not devices[0].failures:
                pass
            replies = await asyncio.gather(*[served.neighbors(one(), 3) for _ in range(20)])
            assert {reply.served.device for reply in replies} == {"cuda:1"}
            assert await health(served) == SERVING
            devices[0].lost = False
            await until(lambda: devices[0].hosted == 2)

    async def test_server_ends_on_device_loss_if_configured(self, make_toy) -> None:
        device = Lossy()
        settings = ServeSettings(str(make_toy().root), Listen(port=0), placement="gpu", on_loss="fail")
        app = App(settings, devices=[device])
        await app.start()
        device.lost = True
        async with grpc.aio.insecure_channel(app.address) as channel:
            from lookalike.v1 import search_pb2, search_pb2_grpc

            stub = search_pb2_grpc.SearchServiceStub(channel)
            assert await code_of(stub.Search(search_pb2.SearchRequest(query=one(), k=3))) is CODE.UNAVAILABLE
        async with asyncio.timeout(60):
            assert "cuda:0" in await app.ending
        await app.stop(grace=1)


RULES: Rules[str] = Rules(key=lambda word: 0, size=lambda word: 1, max_batch=4, max_queue=100)


class TestThreads:
    async def test_ended_thread_fails_its_batch_and_is_replaced(self) -> None:
        gate, entered, ends = threading.Event(), threading.Event(), [True]

        def run(batch: list[str]) -> list[str | Exception]:
            entered.set()
            assert gate.wait(60)
            if ends and "end" in batch:
                ends.clear()
                raise SystemExit("a library called exit")
            return [word.upper() for word in batch]

        batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"only": run}, RULES)
        first = asyncio.ensure_future(batcher.submit("end"))
        await until(entered.is_set)
        waiting = [asyncio.ensure_future(batcher.submit(word)) for word in "abcdef"]
        await until(lambda: batcher.waiting == 6)
        gate.set()
        with pytest.raises(DeviceError, match="ended during the call"):
            await first
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*waiting)
        assert [answer.result for answer in answers] == list("ABCDEF"), "nobody else noticed"
        assert batcher.lost == ""
        batcher.close()
        batcher.join(30)

    async def test_calls_waiting_for_a_thread_that_cannot_start_fail_at_shutdown(self) -> None:
        tries: list[int] = []

        def prepare() -> None:
            tries.append(1)
            raise MemoryError

        batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"only": lambda batch: list(batch)}, RULES, prepare)
        await until(lambda: len(tries) >= 2)
        with pytest.raises(DeviceError, match="the server started another one"):
            await batcher.submit("a")
        batcher.close()
        batcher.join(30)


class TestNetwork:
    async def test_idle_network_that_ends_is_reopened_and_shown_in_health(self, make_toy, serve, make_embedder) -> None:
        toy = make_toy()
        opened: list[Any] = []
        allowed = threading.Event()
        allowed.set()

        def open_embedder(reader: Any, space: str) -> Any:
            assert allowed.wait(60)
            opened.append(make_embedder(toy))
            return opened[-1]

        picture = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7"]))
        async with serve(toy, open_embedder=open_embedder) as served:
            await until_health(served, SERVING, EMBEDDING)
            allowed.clear()
            opened[0].alive = False
            await until_health(served, NOT_SERVING, EMBEDDING)
            assert await health(served) == SERVING, "searches by vector need no network"
            assert await code_of(served.neighbors(one(), 3)) is CODE.OK
            allowed.set()
            await until_health(served, SERVING, EMBEDDING)
            assert opened[0].closed
            assert len(opened) == 2
            assert wire.decode((await served.neighbors(picture, 1)).neighbors.ids)[0] == toy.ids[7]

    async def test_network_that_ends_in_a_batch_fails_it_and_is_reopened(self, make_toy, serve, make_embedder) -> None:
        toy = make_toy()
        opened: list[Any] = []

        def open_embedder(reader: Any, space: str) -> Any:
            opened.append(make_embedder(toy))
            return opened[-1]

        def end(files: list[bytes]) -> Any:
            opened[0].alive = False
            raise DeviceError("The process that embeds images ended; the server starts another one. Retry the call.")

        picture = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7"]))
        async with serve(toy, open_embedder=open_embedder) as served:
            await until_health(served, SERVING, EMBEDDING)
            opened[0].embed = end
            assert await code_of(served.neighbors(picture, 1)) is CODE.UNAVAILABLE
            await until(lambda: len(opened) == 2)
            assert await code_of(served.neighbors(picture, 1)) is CODE.OK


async def test_sigterm_under_load_answers_what_was_taken_and_sends_the_others_away(make_toy) -> None:
    toy = make_toy()
    command = [sys.executable, "-m", "lookalike", "serve", str(toy.root), "--port", "0", "--grace", "60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        address = line.split(" on ")[1].split(": ")[0]
        answered = [0]
        async with grpc.aio.insecure_channel(address) as channel:
            from lookalike.v1 import search_pb2, search_pb2_grpc

            stub = search_pb2_grpc.SearchServiceStub(channel)
            request = search_pb2.SearchRequest(query=one(), k=3)

            async def caller() -> grpc.StatusCode:
                while True:
                    try:
                        reply = await stub.Search(request, timeout=60)
                    except grpc.aio.AioRpcError as error:
                        return error.code()
                    assert list(reply.neighbors.counts) == [3]
                    answered[0] += 1

            callers = [asyncio.ensure_future(caller()) for _ in range(32)]
            await until(lambda: answered[0] > 200)
            process.send_signal(signal.SIGTERM)
            codes = await asyncio.gather(*callers)
        # Anything else would mean a call without a reply, or an error that is not retried.
        assert codes == [CODE.UNAVAILABLE] * 32
        assert await asyncio.to_thread(process.wait, 60) == 0
    finally:
        process.kill()
        process.communicate()
