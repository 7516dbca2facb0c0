"""`python -m tests.faults.greedy`: effect of a greedy caller on a lone caller, at a real server.

The lone caller sends single queries, alone and then beside callers in another process
that share only its address. For each phase this counts the calls of both, and reads the
server's batch metrics. Exits with 1 if a lone call was rejected or failed, or if its p99
exceeds three times its p99 alone plus the p99 of a batch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from lookalike import Client, LookalikeError
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent


@dataclass(frozen=True)
class Greedy:
    """Callers that send one call after another, each with `queries` queries."""

    name: str
    callers: int
    queries: int
    ask: dict[str, Any]


GREEDY = (
    Greedy("8 callers of 256 queries", 8, 256, {"k": 10}),
    Greedy("8 callers of 256 queries, exact, k 1024", 8, 256, {"k": 1024, "exact": True}),
)


@dataclass(frozen=True)
class Phase:
    """Results of the lone caller beside `name`: milliseconds, calls by outcome; `batch_ms` is the server's p99."""

    name: str
    calls: int
    p50_ms: float
    p99_ms: float
    refused: int
    batch_ms: float
    greedy: dict[str, int]

    def problems(self, alone: Phase) -> list[str]:
        """Return the broken promises."""
        bound = 3 * alone.p99_ms + self.batch_ms
        found = [f"{self.refused} calls of the lone caller failed"] if self.refused else []
        if self.p99_ms > bound:
            found.append(f"its p99 of {self.p99_ms:.1f} ms is beyond {bound:.1f} ms")
        return [f"beside {self.name}: {what}" for what in found]


@contextmanager
def serving(folder: Path, rows: int, dim: int, index: str) -> Iterator[tuple[str, str]]:
    """Serve synthetic vectors in a process of its own; yield its address and that of its metrics."""
    storage = Storage(folder)
    write_collection(str(folder), Clustered(rows=rows, dim=dim, seed=1))
    draft, _ = run_build(storage, generations.require_latest(storage), BuildSettings(index=index), Silent())
    generations.publish(storage, draft)
    command = [sys.executable, "-m", "lookalike", "serve", str(folder), "--port", "0", "--metrics-port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        found = [re.search(r"127\.0\.0\.1:\d+", server.stdout.readline()) for _ in range(2)]
        places = [match.group() for match in found if match]
        assert len(places) == 2, "the server did not start"
        yield places[0], places[1]
    finally:
        server.terminate()
        server.communicate(timeout=60)


def ask_much(address: str, greedy: Greedy, dim: int, ended: Any, told: Any) -> None:
    """Run the greedy process: its callers send calls until the end, and report their outcomes."""
    outcomes: Counter[str] = Counter()

    def ask(seed: int) -> None:
        vectors = np.random.default_rng(seed).standard_normal((greedy.queries, dim)).astype(np.float32)
        with Client(address, timeout=60) as client:
            while not ended.is_set():
                try:
                    client.search(vectors=vectors, **greedy.ask)
                    outcomes["answered"] += 1
                except LookalikeError as error:
                    outcomes[type(error).__name__] += 1
                    time.sleep(0.05)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(greedy.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(dict(outcomes))


def ask_little(address: str, dim: int, seconds: float) -> tuple[list[float], int]:
    """Run the lone caller; return the seconds of each call, and the number of failures."""
    vectors = np.random.default_rng(99).standard_normal((256, dim)).astype(np.float32)
    times, failed = [], 0
    with Client(address, timeout=60) as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 50:
            began = time.perf_counter()
            try:
                client.search(vector=vectors[len(times) % 256], k=10)
            except LookalikeError:
                failed += 1
            times.append(time.perf_counter() - began)
            time.sleep(0.005)
    return times, failed


def measure(folder: Path, rows: int, dim: int, index: str, seconds: float) -> list[Phase]:
    """Measure the lone caller alone, then beside each of the greedy callers."""
    context = multiprocessing.get_context("spawn")
    with serving(folder, rows, dim, index) as (address, metrics):
        times, failed = ask_little(address, dim, seconds)
        phases = [_phase("nobody", times, failed, 0.0, {})]
        for greedy in GREEDY:
            ended, told = context.Event(), context.Queue()
            process = context.Process(target=ask_much, args=(address, greedy, dim, ended, told))
            process.start()
            try:
                before = batches(metrics)
                _wait_for(lambda before=before: batches(metrics) - before, 3)
                before = batches(metrics)
                times, failed = ask_little(address, dim, seconds)
                batch_s = _quantile(batches(metrics) - before, 0.99)
            finally:
                ended.set()
            phases.append(_phase(greedy.name, times, failed, batch_s, told.get(timeout=120)))
            process.join()
    return phases


def batches(metrics: str) -> Counter[float]:
    """Return the cumulative counts of search batches by upper bound in seconds."""
    counts: Counter[float] = Counter()
    text = urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30).read().decode()
    for family in text_string_to_metric_families(text):
        if family.name == "lookalike_batch_seconds":
            for sample in family.samples:
                if sample.name.endswith("_bucket") and sample.labels["lane"] in ("search", "scan"):
                    counts[float(sample.labels["le"])] += int(sample.value)
    return counts


def _quantile(counts: Counter[float], share: float) -> float:
    """Return the upper bound in seconds of the bucket that holds a share of the batches."""
    bounds = sorted(counts)
    return next((bound for bound in bounds if counts[bound] >= share * counts[bounds[-1]] > 0), 0.0)


def _wait_for(counts: Any, least: int) -> None:
    end = time.monotonic() + 60
    while max(counts().values(), default=0) < least:
        assert time.monotonic() < end, "the greedy callers did not begin"
        time.sleep(0.1)


def _phase(name: str, times: list[float], failed: int, batch_s: float, greedy: dict[str, int]) -> Phase:
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
    return Phase(name, len(times), round(p50, 2), round(p99, 2), failed, round(batch_s * 1e3, 1), greedy)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.greedy", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--index", default="flat")
    parser.add_argument("--seconds", type=float, default=10)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        phases = measure(Path(folder) / "collection", wanted.rows, wanted.dim, wanted.index, wanted.seconds)
    problems = [problem for phase in phases[1:] for problem in phase.problems(phases[0])]
    sys.stdout.write(json.dumps({"phases": [asdict(phase) for phase in phases], "problems": problems}, indent=1) + "\n")
    return 1 if problems or phases[0].refused else 0


if __name__ == "__main__":
    sys.exit(main())
