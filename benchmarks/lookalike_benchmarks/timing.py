"""Timing of calls, with several alternatives in turn so that all run under the same conditions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Taken:
    """Wall-clock seconds of a call, and processor seconds of all threads of this process during the call."""

    seconds: float
    cpu_s: float

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.seconds + other.seconds, self.cpu_s + other.cpu_s)


def timed(call: Callable[[], _Result]) -> tuple[_Result, Taken]:
    """Return the result of a call, and the time that the call took."""
    began, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, Taken(time.perf_counter() - began, time.process_time() - cpu)


def seconds(call: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def alternating(calls: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Time each call in `rounds` rounds after `warm` uncounted ones; each round times every call once."""
    for _ in range(warm):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


def ratio(times: Mapping[str, list[float]], of: str, over: str) -> dict[str, float]:
    """Return median, minimum and maximum of the round-by-round ratio of two calls' times."""
    ratios = [a / b for a, b in zip(times[of], times[over], strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
