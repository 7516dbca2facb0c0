"""Servers with several fronts against a server of one process: calls/s, processor time, and forwarding latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike_benchmarks.load import requests as asked
from lookalike_benchmarks.load.fleet import ask
from lookalike_benchmarks.load.job import Job, write_requests
from lookalike_benchmarks.results import Row
from lookalike_benchmarks.scraped import stage_seconds
from lookalike_benchmarks.serving import Running, serving_with_metrics
from lookalike_indexer.arrays import Float32

_NETWORK_S = 60.0


@dataclass(frozen=True)
class Trial:
    """A collection, the options and queries of its servers, and the load: `callers` concurrent callers, `seconds`."""

    root: Path
    options: Sequence[str]
    queries: Float32
    k: int
    callers: int
    seconds: float
    rounds: int
    scratch: Path


@dataclass
class Found:
    """Measurements of one number of fronts: a value for each round."""

    calls_per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    busiest_cpu_us: list[float] = field(default_factory=list)
    one_caller_ms: list[float] = field(default_factory=list)
    handover_us: list[float] = field(default_factory=list)


def compared(trial: Trial, counts: Sequence[int], params: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each number of fronts. All servers run at the same time, and are called in turn."""
    found = {count: Found() for count in counts}
    with ExitStack() as stack:
        servers = {
            count: stack.enter_context(serving_with_metrics(trial.root, "--fronts", str(count), *trial.options))
            for count in counts
        }
        for server, _ in servers.values():
            wait_for_network(server)
        for _ in range(trial.rounds):
            for count, (server, port) in servers.items():
                ask_server(trial, server, found[count], port)
    first = found[counts[0]]
    for count, of in found.items():
        measured = {
            "calls_per_s": statistics.median(of.calls_per_s),
            "cpu_us_per_call_of_all_processes": statistics.median(of.cpu_us),
            "cpu_us_per_call_of_the_busiest": statistics.median(of.busiest_cpu_us),
            "p50_ms_of_one_caller": statistics.median(of.one_caller_ms),
            f"calls_over_{counts[0]}": _ratio(of.calls_per_s, first.calls_per_s),
            f"cpu_over_{counts[0]}": _ratio(of.cpu_us, first.cpu_us),
        }
        if of.handover_us:
            measured["handover_us_of_one_caller"] = statistics.median(of.handover_us)
        told = {"k": trial.k, "fronts": count, "callers": trial.callers, "seconds": trial.seconds}
        yield Row("serve", f"{count} front{'' if count == 1 else 's'}", {**params, **told}, measured)


def _ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def ask_server(trial: Trial, server: Running, found: Found, port: int | None = None) -> None:
    """Measure a server; forwarding latency is measured if its metrics can be read at `port`."""
    requests = asked.by_vector(trial.queries, trial.k)
    path = write_requests(trial.scratch / "fronts", requests.messages)
    warm = min(1.0, trial.seconds)
    before = _cpu(server)
    load = ask(Job(server.address, requests.method, str(path), trial.callers, trial.seconds, warm), 2)
    spent = {pid: seconds - before.get(pid, 0.0) for pid, seconds in _cpu(server).items()}
    calls = max(1, load.all_calls)
    found.calls_per_s.append(load.calls_per_s)
    found.cpu_us.append(sum(spent.values()) / calls * 1e6)
    found.busiest_cpu_us.append(max(spent.values()) / calls * 1e6)
    seconds, handed = (0.0, 0) if port is None else stage_seconds(port, "handover")
    alone = ask(Job(server.address, requests.method, str(path), 1, trial.seconds / 2, warm / 2), 1)
    found.one_caller_ms.append(alone.measured()["p50_ms"])
    after, handed_after = (0.0, 0) if port is None else stage_seconds(port, "handover")
    if handed_after > handed:
        found.handover_us.append((after - seconds) / (handed_after - handed) * 1e6)


def wait_for_network(server: Running) -> None:
    """Wait up to a minute until a new server has opened its network, which would distort the measurement."""
    end = time.monotonic() + _NETWORK_S
    request = health_pb2.HealthCheckRequest(service="embedding")
    with grpc.insecure_channel(server.address) as channel:
        check: Any = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
        while time.monotonic() < end and check(request).status != health_pb2.HealthCheckResponse.SERVING:
            time.sleep(0.2)


def _cpu(server: Running) -> dict[int, float]:
    """Return the processor seconds of each process of a server so far."""
    process = psutil.Process(server.pid)
    times = {one.pid: one.cpu_times() for one in (process, *process.children(recursive=True))}
    return {pid: one.user + one.system for pid, one in times.items()}
