"""Timing of calls, with several alternatives in turn so that all run under the same conditions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


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
