"""Several processes of callers, and their combined measurements."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from lookalike_benchmarks.load.job import Job, Outcome

_START_S = 60.0


@dataclass(frozen=True)
class Load:
    """Combined measurements of all callers; `all_calls` includes the warm-up calls."""

    calls: int
    all_calls: int
    seconds: float
    latencies_ms: np.ndarray[tuple[int], np.dtype[np.float64]]
    failures: dict[str, int]
    replies: list[bytes]
    answered_s: np.ndarray[tuple[int], np.dtype[np.float64]]
    refusals_ms: np.ndarray[tuple[int], np.dtype[np.float64]]
    told: int

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the calls' latency in ms; NaN without any answered call."""
        return float(np.percentile(self.latencies_ms, percent)) if self.calls else float("nan")

    def measured(self) -> dict[str, float | int]:
        """Return the columns that all rows about load have; needs at least one answered call."""
        return {
            "calls_per_s": self.calls_per_s,
            "p50_ms": self.percentile_ms(50),
            "p99_ms": self.percentile_ms(99),
            "p99_9_ms": self.percentile_ms(99.9),
        }

    def note(self) -> str:
        """Return the numbers of failed calls by status code; "" without failures."""
        return ", ".join(f"{count} calls failed with {code}" for code, count in sorted(self.failures.items()))


def ask(job: Job, processes: int = 1) -> Load:
    """Run a job in one process, or split its callers and rate among several.

    RuntimeError: a process of callers failed.
    """
    with ready(job, processes) as begin:
        return begin()


@contextmanager
def ready(job: Job, processes: int = 1) -> Iterator[Callable[[], Load]]:
    """Start the processes of a job; the function that the block receives lets them begin and returns the load."""
    jobs = [
        dataclasses.replace(
            job,
            callers=job.callers // processes + (number < job.callers % processes),
            rate=job.rate / processes,
            first=job.first + number * 997,
        )
        for number in range(min(processes, job.callers))
    ]
    with ExitStack() as ended:
        running = [ended.enter_context(_Process(part)) for part in jobs]
        for process in running:
            process.wait_ready()

        def begin() -> Load:
            for process in running:
                process.begin()
            return _together([process.outcome() for process in running])

        yield begin


def _together(outcomes: list[Outcome]) -> Load:
    latencies = np.array([latency for one in outcomes for latency in one.latencies_ms])
    failures: dict[str, int] = {}
    for one in outcomes:
        for code, count in one.failures.items():
            failures[code] = failures.get(code, 0) + count
    return Load(
        calls=len(latencies),
        all_calls=sum(one.all_calls for one in outcomes),
        seconds=max(1e-9, max(one.ended for one in outcomes) - min(one.began for one in outcomes)),
        latencies_ms=latencies,
        failures=failures,
        replies=[bytes.fromhex(reply) for one in outcomes for reply in one.replies],
        answered_s=np.array([at for one in outcomes for at in one.answered_s]),
        refusals_ms=np.array([latency for one in outcomes for latency in one.refusals_ms]),
        told=sum(one.told for one in outcomes),
    )


class _Process:
    """One process of callers; killed if it still runs at the end of the block."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lookalike_benchmarks.load.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def wait_ready(self) -> None:
        self._say(self._job.line())
        if not self._process.stdout or self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"A process of callers did not start: {self._process.communicate()[1]}")

    def begin(self) -> None:
        self._say("go")

    def outcome(self) -> Outcome:
        out, errors = self._process.communicate(timeout=self._job.warm_s + self._job.seconds + 3 * _START_S)
        if self._process.returncode:
            raise RuntimeError(f"A process of callers failed: {errors}")
        return Outcome.of(out)

    def _say(self, line: str) -> None:
        if self._process.stdin is None:
            raise RuntimeError("A process of callers has no input.")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
