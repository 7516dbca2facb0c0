"""Cost of folding new images into a generation, for the server and for concurrent searches."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

import lookalike
from lookalike_benchmarks.serving import Running
from lookalike_indexer.arrays import Float32

_SEARCHERS = 2
_QUIET_S = 2.0
# CPU seconds that an idle server uses at most, and the number of times to wait for it. The thread that adds images to
# the graph has a low priority, so on a busy machine it may use little more than that.
_IDLE_S, _MOST_WAITS = 0.02, 60


@dataclass
class _Searches:
    """Single searches by some threads while a block runs: milliseconds of each, and the number of failures."""

    address: str
    queries: Float32
    times: list[float] = field(default_factory=list)
    failed: int = 0

    def __enter__(self) -> _Searches:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(_SEARCHERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, turn: int) -> None:
        with lookalike.Client(self.address, timeout=120, retries=0) as client:
            while not self._over.is_set():
                began = time.perf_counter()
                try:
                    client.search(vector=self.queries[turn % len(self.queries)], k=10)
                except lookalike.LookalikeError:
                    self.failed += 1
                self.times.append(1000 * (time.perf_counter() - began))
                turn += 1
                time.sleep(0.005)

    def taken(self) -> list[float]:
        """Return the times since the last call of this method."""
        self.times, taken = [], self.times
        return taken


@dataclass(frozen=True)
class Folded:
    """One fold: its seconds, the server's CPU seconds, and its resident memory afterwards."""

    seconds: float
    cpu_s: float
    rss_mib: float


@dataclass(frozen=True)
class Searched:
    """Single searches before and during a fold."""

    p99_before_ms: float
    p99_ms: float
    failed: int


def folds(running: Running, blocks: Iterator[Float32], queries: Float32) -> Iterator[tuple[Folded, Searched | None]]:
    """Add each block of vectors to a writable server and fold it.

    Searches run during every second fold. The CPU time of the others contains nothing but the fold.
    """
    for number, block in enumerate(blocks):
        with lookalike.Client(running.address, timeout=600) as client:
            for start in range(0, len(block), 256):
                rows = block[start : start + 256]
                client.upsert(vectors={f"fold/{number}/{start + row}": vector for row, vector in enumerate(rows)})
            settle(running)
            if number % 2:
                with _Searches(running.address, queries) as searches:
                    time.sleep(_QUIET_S)
                    searches.taken()
                    time.sleep(_QUIET_S)
                    before = searches.taken()
                    done = _folded(running, client)
                    during = searches.taken()
                yield done, Searched(_p99(before), _p99(during), searches.failed)
            else:
                yield _folded(running, client), None


def _folded(running: Running, client: lookalike.Client) -> Folded:
    spent, began = running.cpu_seconds(), time.perf_counter()
    client.fold()
    return Folded(time.perf_counter() - began, running.cpu_seconds() - spent, running.rss_mib())


def settle(running: Running) -> None:
    """Wait until the server uses little CPU time, because it adds new images to its graph after their calls."""
    for _ in range(_MOST_WAITS):
        spent = running.cpu_seconds()
        time.sleep(_QUIET_S)
        if running.cpu_seconds() - spent <= _IDLE_S:
            return


def figures(done: list[tuple[Folded, Searched | None]]) -> dict[str, float]:
    """Summarize several folds: medians, failed calls, and the growth of memory."""
    alone = [fold for fold, searched in done if searched is None]
    beside = [searched for _, searched in done if searched is not None]
    # The first fold loads code and memory that stay.
    later = [fold for fold, _ in done[1:] or done]
    found = {
        "cpu_s": statistics.median(one.cpu_s for one in alone),
        "most_cpu_s": max(one.cpu_s for one in alone),
        "seconds": statistics.median(one.seconds for one in alone),
        "rss_mib_first": later[0].rss_mib,
        "rss_mib_last": later[-1].rss_mib,
    }
    if beside:
        found |= {
            "failed_calls": float(sum(one.failed for one in beside)),
            "p99_ms_before": statistics.median(one.p99_before_ms for one in beside),
            "p99_ms_during": statistics.median(one.p99_ms for one in beside),
            "p99_ratio": statistics.median(one.p99_ms / one.p99_before_ms for one in beside),
        }
    return found


def _p99(times: list[float]) -> float:
    return float(np.percentile(times, 99)) if times else float("nan")
