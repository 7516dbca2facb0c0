"""The network runs in a process of its own: it may die, and searches never wait for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

import lookalike as lookalike_client

pytestmark = pytest.mark.xdist_group("e2e")


Server = tuple[subprocess.Popen[str], str]


@pytest.fixture(scope="module")
def start(collection: Path) -> Iterator[Callable[..., Server]]:
    """Return a running server and its address; tests share it until one stops it, since a network loads slowly.

    With options, return a new server with them.
    """
    started: list[tuple[tuple[str, ...], Server]] = []

    def running(*options: str) -> Server:
        if started and started[-1][1][0].poll() is None:
            if not options or options == started[-1][0]:
                return started[-1][1]
            ended(started[-1][1])
        command = [sys.executable, "-m", "lookalike", "serve", str(collection), "--port", "0", "--grace", "300"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        started.append((options, (process, process.stdout.readline().split(" on ")[1].split(": ")[0])))
        return started[-1][1]

    def ended(server: Server) -> None:
        server[0].terminate()
        server[0].communicate(timeout=60)

    yield running
    for _, server in started:
        ended(server)


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


def embedding_process(server: subprocess.Popen[str]) -> psutil.Process:
    """Return the child that has children of its own, which decode."""
    return next(child for child in psutil.Process(server.pid).children() if child.children())


def test_another_network_is_started_when_its_process_dies(server: Server, pictures: Path) -> None:
    process, address = server
    with lookalike_client.Client(address, timeout=120) as client:
        assert client.search(image=pictures / "red" / "05.png", k=1).keys == ("red/05.png",)
        embedding_process(process).kill()
        # The client retries UNAVAILABLE, so the caller notices nothing.
        assert client.search(image=pictures / "blue" / "07.png", k=1).keys == ("blue/07.png",)


@pytest.mark.parametrize("asked", [True, False], ids=["by a call", "while nobody asks"])
def test_another_network_is_started_when_its_process_hangs(
    start: Callable[..., Server], pictures: Path, asked: bool
) -> None:
    process, address = start("--max-silence-ms", "10000")
    with lookalike_client.Client(address, timeout=300) as client, grpc.insecure_channel(address) as channel:
        # Too large for a pipe, so that writing it to the process hangs as well.
        large = pictures.parent / "large.bmp"
        Image.open(pictures / "blue" / "07.png").convert("RGB").resize((600, 600)).save(large)
        before = client.search(image=large, k=1).keys
        hung = embedding_process(process)
        hung.suspend()
        answers: list[tuple[str, ...]] = []
        caller = threading.Thread(target=lambda: answers.append(client.search(image=large, k=1).keys))
        if asked:
            caller.start()
        stub = health_pb2_grpc.HealthStub(channel)
        embedding = health_pb2.HealthCheckRequest(service="embedding")
        _until(lambda: stub.Check(embedding).status == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        assert len(client.search(key="red/00.png", k=3)) == 3
        _until(lambda: not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE)
        if not asked:
            _until(lambda: stub.Check(embedding).status == health_pb2.HealthCheckResponse.SERVING)
            caller.start()
        caller.join(300)
        # The client retries UNAVAILABLE, so the caller notices nothing.
        assert answers == [before]


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_nothing_is_left_when_the_server_is_killed(server: Server, pictures: Path) -> None:
    process, address = server
    with lookalike_client.Client(address, timeout=120) as client:
        client.search(image=pictures / "red" / "05.png", k=1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_sigterm_to_all_processes_completes_images_in_flight(server: Server, pictures: Path) -> None:
    process, address = server
    with lookalike_client.Client(address, timeout=300, retries=0) as client:
        client.search(image=pictures / "red" / "05.png", k=1)
        network = embedding_process(process)
        before = network.cpu_times().user
        answers: list[int] = []
        images = [Image.new("RGB", (900, 900), (number, 0, 200)) for number in range(80)]
        caller = threading.Thread(target=lambda: answers.append(len(client.search(images=images, k=1))))
        caller.start()
        _until(lambda: network.cpu_times().user > before + 0.1)
        # The signal with which systemd stops a service by default, and `timeout` a command.
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()
        assert not answers
        caller.join(300)
        assert answers == [80]
        assert process.wait(timeout=60) == 0


@pytest.mark.own_process
def test_searches_are_answered_while_the_network_is_loading(server: Server) -> None:
    process, address = server
    with lookalike_client.Client(address, timeout=120) as client:
        for _ in range(20):
            assert len(client.search(key="red/00.png", k=3, timeout=60)) == 3
        assert "torch" not in " ".join(mapped.path for mapped in psutil.Process(process.pid).memory_maps())
