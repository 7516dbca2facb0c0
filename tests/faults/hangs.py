"""`python -m tests.faults.hangs`: effect of a hung network process, or a hung device thread, on callers.

The network process is that of a real server, stopped by SIGSTOP. A thread cannot be
stopped from outside, so a fake device hangs: one of two, on which a server in this
process has copies of an index. Exits with 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from lookalike import Client, LookalikeError, wire
from lookalike.v1 import search_pb2, search_pb2_grpc, types_pb2
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_server.app import App
from lookalike_server.common.limits import Limits
from lookalike_server.common.settings import Listen, ServeSettings

CHILD, THREAD = "hung child", "hung device thread"
KINDS = (CHILD, THREAD)

_PATIENCE_S = 300.0


@dataclass
class Hang:
    """Seconds from the hang until health, or the first caller, reported it, and until everything worked again."""

    kind: str
    told_s: float = 0.0
    mended_s: float = 0.0
    others_asked: int = 0
    others_failed: int = 0
    problems: list[str] = field(default_factory=list)


def hung_child() -> Hang:
    """Stop the network's process, with a call on its way to it."""
    hang = Hang(CHILD)
    with tempfile.TemporaryDirectory() as name:
        pictures = _pictures(Path(name) / "pictures")
        collection = Path(name) / "collection"
        network = ("--model", "resnet18", "--weights", "untrained:3")
        _lookalike("index", str(pictures), "--collection", str(collection), *network)
        with _served(collection) as (server, address), Client(address, timeout=_PATIENCE_S) as client:
            expected = client.search(image=pictures / "07.png", k=1).keys
            process = next(child for child in psutil.Process(server.pid).children() if child.children())
            with _others(hang, lambda: client.search(key="03.png", k=3)), _health(address) as serves:
                process.suspend()
                began = time.monotonic()
                answers: list[Any] = []
                caller = threading.Thread(
                    target=lambda: answers.append(client.search(image=pictures / "07.png", k=1).keys)
                )
                caller.start()
                _until(lambda: not serves("embedding"))
                hang.told_s = time.monotonic() - began
                caller.join(_PATIENCE_S)
                _until(lambda: serves("embedding"))
                hang.mended_s = time.monotonic() - began
            if hang.others_failed:
                hang.problems.append(f"{hang.others_failed} calls failed that need no network")
            if answers != [expected]:
                hang.problems.append(f"the call on its way to the process got {answers}, not {expected}")
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                hang.problems.append("the process that hung is still there")
    return hang


class HangingDevice:
    """A device that searches like the processor while `works` is set."""

    max_selection: int | None = None

    def __init__(self, name: str) -> None:
        self.name, self.works, self.entered = name, threading.Event(), threading.Event()
        self.works.set()

    def host(self, index: Any) -> Any:
        """Return a copy of a flat index."""
        kind: Any = type(index)

        def search(hosted: Any, values: Any, k: int, *, params: Any = None) -> Any:
            if not self.works.is_set():
                self.entered.set()
            self.works.wait(_PATIENCE_S)
            return kind.search(hosted, values, k, params=params)

        hosted: Any = type("Hosted", (kind,), {"search": search})(index.d)
        hosted.add(index.reconstruct_n(0, index.ntotal))
        return hosted


def hung_thread() -> Hang:
    """Let one of two devices hang in a search, then the other one, too."""
    hang = Hang(THREAD)
    devices = [HangingDevice("cuda:0"), HangingDevice("cuda:1")]
    with tempfile.TemporaryDirectory() as name:
        collection = Path(name) / "collection"
        storage = Storage(collection)
        write_collection(str(collection), Clustered(rows=2_000, dim=64, seed=1))
        draft, _ = run_build(storage, generations.require_latest(storage), BuildSettings(index="flat"), Silent())
        generations.publish(storage, draft)
        limits = Limits(max_search_ms=3_000)
        settings = ServeSettings(str(collection), Listen(port=0), placement="replicate", limits=limits)
        with _in_thread(App(settings, devices=devices)) as address, _health(address) as serves:
            try:
                with grpc.insecure_channel(address) as channel:
                    _hang(hang, devices, search_pb2_grpc.SearchServiceStub(channel), serves)
            finally:
                for device in devices:
                    device.works.set()
    return hang


def _hang(hang: Hang, devices: list[HangingDevice], stub: Any, serves: Callable[[str], bool]) -> None:
    vectors = wire.encode(np.ones((1, 64), np.float32))
    query = types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=vectors))
    request = search_pb2.SearchRequest(query=query, k=3)

    def ask() -> None:
        stub.Search(request, timeout=_PATIENCE_S)

    def code() -> grpc.StatusCode:
        try:
            ask()
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    ask()
    devices[0].works.clear()
    caught = [threading.Thread(target=code) for _ in range(8)]
    for thread in caught:
        thread.start()
    # Any free thread may take a call; at most one call is caught.
    with _others(hang, ask):
        for thread in caught:
            thread.join(_PATIENCE_S)
        time.sleep(1)
    if not devices[0].entered.is_set() or hang.others_failed > 1:
        hang.problems.append("callers noticed that one device hangs, though the other one answers")
    if not serves(""):
        hang.problems.append("health gave up, though one device answers")
    devices[1].works.clear()
    began = time.monotonic()
    last = threading.Thread(target=code)
    last.start()
    _until(lambda: not serves(""))
    hang.told_s = time.monotonic() - began
    last.join(_PATIENCE_S)
    asked = time.monotonic()
    if code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() - asked > 2:
        hang.problems.append("a caller was not told at once that no device is left")
    for device in devices:
        device.works.set()
    began = time.monotonic()
    _until(lambda: serves(""))
    hang.mended_s = time.monotonic() - began
    ask()


@contextmanager
def _others(hang: Hang, ask: Callable[[], Any]) -> Iterator[None]:
    """Send calls one after another while the block runs, and count them."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set():
            hang.others_asked += 1
            try:
                ask()
            except (LookalikeError, grpc.RpcError):
                hang.others_failed += 1
            time.sleep(0.02)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_PATIENCE_S)


@contextmanager
def _health(address: str) -> Iterator[Callable[[str], bool]]:
    """Yield a function that returns whether a service is serving."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def serves(service: str) -> bool:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_PATIENCE_S)
            return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

        yield serves


@contextmanager
def _in_thread(app: App) -> Iterator[str]:
    """Run a server in a thread of this process until the block ends; yield its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(app.start(), loop).result(_PATIENCE_S)
        try:
            yield app.address
        finally:
            asyncio.run_coroutine_threadsafe(app.stop(1), loop).result(_PATIENCE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE_S)
        loop.close()


@contextmanager
def _served(collection: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server in a process of its own; yield the process and its address."""
    command = [sys.executable, "-m", "lookalike", "serve", str(collection), "--port", "0", "--max-silence-ms", "10000"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        yield server, server.stdout.readline().split(" on ")[1].split(": ")[0]
    finally:
        server.terminate()
        server.communicate(timeout=_PATIENCE_S)


def _pictures(folder: Path) -> Path:
    """Write twelve images of noise, each of its own hue."""
    folder.mkdir()
    random = np.random.default_rng(7)
    for number in range(12):
        pixels = random.integers(0, 255, (64, 80, 3), dtype=np.uint8)
        pixels[..., 0] = number * 20
        Image.fromarray(pixels, "HSV").convert("RGB").save(folder / f"{number:02d}.png")
    return folder


def _lookalike(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "lookalike", *arguments], check=True, capture_output=True)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def main(kinds: Sequence[str] = KINDS) -> int:
    brought_about = {CHILD: hung_child, THREAD: hung_thread}
    hangs = [brought_about[kind]() for kind in kinds]
    sys.stdout.write(json.dumps([asdict(hang) for hang in hangs], indent=1) + "\n")
    return 1 if any(hang.problems for hang in hangs) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hangs", description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS)
    sys.exit(main(parser.parse_args().kind or KINDS))
