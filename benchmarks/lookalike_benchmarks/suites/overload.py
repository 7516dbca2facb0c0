"""Suite overload: a load above the server's capacity: latency of answers and rejections, memory, and recovery.

Searches visit every list of the index, so that a few processes of callers can send
several times the server's capacity without being the bottleneck.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike import wire
from lookalike.v1 import search_pb2, types_pb2
from lookalike_benchmarks import servable
from lookalike_benchmarks.engines.ports import free_port
from lookalike_benchmarks.load.fleet import Load, ask, ready
from lookalike_benchmarks.load.job import Job, write_requests
from lookalike_benchmarks.load.requests import SEARCH
from lookalike_benchmarks.options import Options
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.scraped import refused_within_ms
from lookalike_benchmarks.serving import Running, serving
from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader

USUAL = {"rows": "100000", "k": "10", "times": "5", "seconds": "60", "callers": "32", "cache": ".cache/benchmarks"}
QUICK = {"rows": "3000", "times": "5", "seconds": "1", "callers": "8", "cache": ""}

_QUERIES = 256
_PROCESSES = 2
# Length in seconds of the windows in which the rate after the load is measured.
_WINDOW_S = 0.5
_AFTER_S = 6.0
# Share of the rate before the load that counts as full speed, since one window has few calls.
_FULL = 0.8


def run(settings: Settings) -> Iterator[Row]:
    """Yield one row."""
    options = Options(settings, USUAL, QUICK)
    wanted = servable.Servable(
        rows=options.number("rows"), arch="resnet18", index="ivf-fp16", clusters=8, seed=settings.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        reader = servable.collection(Path(options.text("cache") or folder), wanted)
        requests = write_requests(
            Path(folder) / "requests", _searches(reader, wanted.vectors.queries(_QUERIES), options)
        )
        port = free_port()
        with serving(reader.storage.root, "--metrics-port", str(port)) as server:
            yield _row(server, port, str(requests), options, wanted)


def _searches(reader: CollectionReader, vectors: Float32, options: Options) -> list[bytes]:
    nprobe, k = reader.index().nlist, options.number("k")
    return [
        search_pb2.SearchRequest(
            query=types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(vector[None]))), k=k, nprobe=nprobe
        ).SerializeToString()
        for vector in vectors
    ]


def _row(server: Running, metrics: int, requests: str, options: Options, wanted: servable.Servable) -> Row:
    callers, seconds, times = options.number("callers"), options.seconds("seconds"), options.number("times")
    closed = Job(server.address, SEARCH, requests, callers, max(1.0, min(5.0, seconds)), warm_s=2.0)
    alone = ask(closed, _PROCESSES)
    # First at full speed, so that memory does not include the growth of the first calls.
    offered = alone.calls_per_s * times
    overload = Job(server.address, SEARCH, requests, _PROCESSES, seconds, warm_s=0.0, rate=offered)
    after_job = Job(server.address, SEARCH, requests, callers, _AFTER_S, warm_s=0.0)
    with ready(after_job, _PROCESSES) as after, _memory(server) as memory:
        load = ask(overload, _PROCESSES)
        recovered = after()
    measured = {
        "capacity_calls_per_s": alone.calls_per_s,
        "alone_p99_ms": alone.percentile_ms(99),
        "offered_calls_per_s": (load.calls + sum(load.failures.values())) / seconds,
        "answered_calls_per_s": load.calls_per_s,
        "answered_p50_ms": load.percentile_ms(50),
        "answered_p99_ms": load.percentile_ms(99),
        "refused_share": len(load.refusals_ms) / max(1, load.calls + sum(load.failures.values())),
        "refused_p50_ms": _percentile(load.refusals_ms, 50),
        "refused_p99_ms": _percentile(load.refusals_ms, 99),
        "refused_p99_ms_at_the_server_at_most": refused_within_ms(metrics, 0.99),
        "refused_without_retry_info": len(load.refusals_ms) - load.told,
        "rss_before_mib": memory.before,
        "rss_highest_mib": memory.highest,
        "full_speed_after_s": _full_speed_after(recovered, alone.calls_per_s),
    }
    params = {**wanted.params(), "times": times, "seconds": seconds, "callers": callers, "processes": _PROCESSES}
    others = {code: count for code, count in load.failures.items() if code != "RESOURCE_EXHAUSTED"}
    note = ", ".join(f"{count} calls failed with {code}" for code, count in sorted(others.items()))
    return Row("overload", f"{times} times the capacity for {seconds:g} s", params, measured, note)


@dataclass
class _Memory:
    """Resident memory of the server's process, in MiB."""

    before: float
    highest: float


@contextmanager
def _memory(server: Running) -> Iterator[_Memory]:
    """Sample the peak of a block ten times a second."""
    memory = _Memory(server.rss_mib(), server.rss_mib())
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            memory.highest = max(memory.highest, server.rss_mib())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def _full_speed_after(load: Load, capacity: float) -> float:
    """Return the start of the first window with full speed, in seconds after the load; NaN without one."""
    counts, edges = np.histogram(load.answered_s, np.arange(0, _AFTER_S + _WINDOW_S / 2, _WINDOW_S))
    full = np.flatnonzero(counts >= _FULL * capacity * _WINDOW_S)
    return float(edges[full[0]]) if len(full) else float("nan")


def _percentile(values: np.ndarray[tuple[int], np.dtype[np.float64]], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else float("nan")
