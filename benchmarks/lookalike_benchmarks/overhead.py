"""Overhead of the service over bare faiss; each pair is measured in turn."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lookalike
from lookalike_benchmarks.bare import Bare, Searched
from lookalike_benchmarks.load import echo
from lookalike_benchmarks.load import requests as asked
from lookalike_benchmarks.load.fleet import Load, ask
from lookalike_benchmarks.load.job import Job, write_requests
from lookalike_benchmarks.load.requests import Requests
from lookalike_benchmarks.serving import Running, listening
from lookalike_indexer.arrays import Float32
from lookalike_indexer.threads import processors

Compared = tuple[str, dict[str, Any], dict[str, Any], str]

CALLERS = 64
BATCH = 64
# Two, so that the next call is already on its way while one is searched, and the device never waits.
BATCH_CALLERS = 2
_ALONE = 100


@dataclass(frozen=True)
class Trial:
    """A server, the same index in this process, and how long to measure; `threads` are those of bare faiss."""

    server: Running
    bare: Bare
    queries: Float32
    k: int
    seconds: float
    warm_s: float
    rounds: int
    threads: int
    scratch: Path

    def search_bare(self, batch: int, threads: int | None = None, pause_s: float = 0) -> Searched:
        return self.bare.measure(self.queries, self.k, batch, self.seconds / 2, threads or self.threads, pause_s)

    def call(self, server: Running, requests: Requests, callers: int, processes: int) -> tuple[Load, float]:
        """Return the load, and the CPU microseconds of the server for each call."""
        path = write_requests(self.scratch / "trial", requests.messages)
        job = Job(server.address, requests.method, str(path), callers, self.seconds, self.warm_s)
        before = server.cpu_seconds()
        load = ask(job, processes)
        return load, (server.cpu_seconds() - before) / max(1, load.all_calls) * 1e6


def compared(trial: Trial) -> Iterator[Compared]:
    """Yield cases with their parameters, measurements and notes."""
    yield from _bare(trial)
    yield _cpu_of_a_call(trial)
    yield _batches(trial)
    yield _one_caller(trial)


def _bare(trial: Trial) -> Iterator[Compared]:
    for batch in (1, BATCH):
        found = trial.search_bare(batch)
        measured = {
            "queries_per_s": found.queries_per_s,
            "p50_ms": found.p50_ms,
            "cpu_us_per_query": found.cpu_s * 1e6,
        }
        yield f"bare faiss, batch {batch}", {"batch": batch}, measured, ""


def _cpu_of_a_call(trial: Trial) -> Compared:
    """Measure the target "cpu-of-a-call": CPU of a call without its search, over that of a gRPC echo in Python."""
    requests = asked.by_vector(trial.queries, trial.k)
    size = _reply_bytes(trial, requests)
    served_us, echoed_us, bare_us, batches = [], [], [], []
    command = [sys.executable, "-m", "lookalike_benchmarks.load.echo", str(size)]
    with listening(command, r"ECHO on (127\.0\.0\.1:\d+)") as echoing:
        for _ in range(trial.rounds):
            load, cpu_us = trial.call(trial.server, requests, CALLERS, 2)
            served_us.append(cpu_us)
            batches.append(asked.batch_size(load.replies))
            echoed_us.append(trial.call(echoing, Requests(echo.METHOD, requests.messages), CALLERS, 2)[1])
            bare_us.append(trial.search_bare(BATCH).cpu_s * 1e6)
    ratios = [(s - b) / e for s, b, e in zip(served_us, bare_us, echoed_us, strict=True)]
    measured = {
        "server_cpu_us_per_call": statistics.median(served_us),
        "faiss_cpu_us_per_query": statistics.median(bare_us),
        "echo_cpu_us_per_call": statistics.median(echoed_us),
        "mean_batch_size": statistics.fmean(batches),
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }
    params = {
        "callers": CALLERS,
        "faiss_batch": BATCH,
        "request_bytes": len(requests.messages[0]),
        "reply_bytes": size,
    }
    return "CPU of a call less its search, over a bare gRPC echo", params, measured, ""


def _batches(trial: Trial) -> Compared:
    """Measure the target "batches": queries/s in requests of 64, over bare faiss in batches of 64."""
    requests = asked.by_vector(trial.queries, trial.k, BATCH)
    served, bare = [], []
    for _ in range(trial.rounds):
        load, _cpu = trial.call(trial.server, requests, BATCH_CALLERS, 1)
        served.append(load.calls_per_s * BATCH)
        # Both with the server's number of threads and with all: compare with the faster one.
        several = {trial.threads, processors()}
        bare.append(max(trial.search_bare(BATCH, threads).queries_per_s for threads in several))
    ratios = [s / b for s, b in zip(served, bare, strict=True)]
    measured = {
        "queries_per_s": statistics.median(served),
        "faiss_queries_per_s": statistics.median(bare),
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }
    return "requests of 64 over bare faiss in batches of 64", {"callers": BATCH_CALLERS, "batch": BATCH}, measured, ""


def _one_caller(trial: Trial) -> Compared:
    """Measure the target "one-caller": the additional latency of one caller with the public client over bare faiss."""
    added, served, bare, rarely = [], [], [], []
    with lookalike.Client(trial.server.address) as client:
        for _ in range(trial.rounds):
            times = []
            for vector in trial.queries[:_ALONE]:
                began = time.perf_counter()
                client.search(vector=vector, k=trial.k)
                times.append(time.perf_counter() - began)
            served.append(statistics.median(times) * 1e3)
            # One thread: a single query is searched by one, and others would only spin.
            bare.append(trial.search_bare(1, threads=1).p50_ms)
            added.append(served[-1] - bare[-1])
            # The same at the service's rate: between rare calls, processor caches are used for other data.
            rarely.append(trial.search_bare(1, threads=1, pause_s=max(0.0, added[-1]) / 1e3).p50_ms)
    measured = {
        "p50_ms": statistics.median(served),
        "faiss_p50_ms": statistics.median(bare),
        "faiss_p50_ms_asked_as_often_as_the_service": statistics.median(rarely),
        "added_ms": statistics.median(added),
        "added_ms_min": min(added),
        "added_ms_max": max(added),
    }
    return "one caller's added latency over bare faiss", {"callers": 1, "calls_in_a_round": _ALONE}, measured, ""


def _reply_bytes(trial: Trial, requests: Requests) -> int:
    """Return the median length of the server's replies."""
    path = write_requests(trial.scratch / "trial", requests.messages)
    job = Job(trial.server.address, requests.method, str(path), 1, min(0.3, trial.seconds), 0)
    return int(statistics.median(len(reply) for reply in ask(job).replies))
