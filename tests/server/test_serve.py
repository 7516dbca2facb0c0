"""`lookalike serve` as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import httpx
import numpy as np

from lookalike import wire
from lookalike.v1 import search_pb2, search_pb2_grpc, types_pb2


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `lookalike serve`; yield the process and its address once it serves."""
    command = [sys.executable, "-m", "lookalike", "serve", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert ", indexes tiny/main" in line, line + process.communicate(timeout=60)[1]
        yield process, line.split(" on ")[1].split(":")[0] + ":" + line.split(" on ")[1].split(":")[1]
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def in_flight(metrics: str) -> int:
    """Return the number of calls in progress on a server."""
    found = re.search(r"^lookalike_calls_in_flight (\S+)$", httpx.get(metrics, timeout=60).text, flags=re.MULTILINE)
    assert found
    return round(float(found.group(1)))


def scan_request(count: int) -> search_pb2.SearchRequest:
    values = np.random.default_rng(0).standard_normal((count, 256)).astype(np.float32)
    query = types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(values)))
    return search_pb2.SearchRequest(query=query, k=200, exact=True)


def test_sigterm_completes_running_calls_and_rejects_new_calls(make_toy) -> None:
    vectors = np.random.default_rng(1).standard_normal((40_000, 256)).astype(np.float32)
    toy = make_toy(vectors, index="IVF16,SQ8", part_rows=5000)
    options = ("--port", 0, "--grace", 120, "--metrics-port", 0)
    with serving(toy.root, *options) as (process, address), grpc.insecure_channel(address) as channel:
        assert process.stdout is not None
        metrics = process.stdout.readline().split("METRICS on ")[1].strip()
        stub = search_pb2_grpc.SearchServiceStub(channel)
        # An exact search of a compressed index reads every embedding; of several at once, some are still in progress.
        calls = [stub.Search.future(scan_request(200), timeout=120) for _ in range(4)]
        until(lambda: in_flight(metrics) >= 2)
        process.send_signal(signal.SIGTERM)
        assert not all(call.done() for call in calls)
        replies = [call.result() for call in calls]
        assert all(list(reply.neighbors.counts) == [200] * 200 for reply in replies)
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_sighup_serves_the_new_generation(make_toy) -> None:
    toy = make_toy()
    with serving(toy.root, "--port", 0) as (process, address), grpc.insecure_channel(address) as channel:
        stub = search_pb2_grpc.SearchServiceStub(channel)
        request = search_pb2.SearchRequest(query=types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5])), k=3)
        assert stub.Search(request, timeout=60).served.generation == 1
        make_toy(np.random.default_rng(3).standard_normal((100, 16)).astype(np.float32))
        process.send_signal(signal.SIGHUP)
        until(lambda: stub.Search(request, timeout=60).served.generation == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_invalid_arguments_are_reported_in_one_sentence(make_toy, tmp_path, lookalike) -> None:
    toy = make_toy()
    for arguments, code, said in (
        ((tmp_path / "nothing",), 1, "holds no collection"),
        ((toy.root, "--host", "0.0.0.0"), 2, "--insecure"),
        ((toy.root, "--gpus", "0"), 2, "placement is cpu"),
        ((toy.root, "--placement", "moon"), 2, "moon"),
        ((toy.root, "--max-queue", "0"), 2, "'--max-queue': '0' is out of range"),
    ):
        done = lookalike("serve", *arguments)
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
