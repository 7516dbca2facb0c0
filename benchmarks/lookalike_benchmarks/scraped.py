"""Measurements of a server, read from its metrics port."""

from __future__ import annotations

import http.client
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

_CALLS = "lookalike_call_seconds"
_STAGES = "lookalike_stage_seconds"
_REFUSED = "RESOURCE_EXHAUSTED"


def refused_within_ms(port: int, share: float) -> float:
    """Return the upper bound in ms of the latency bucket that holds a share of all rejections; NaN without any.

    The latency starts at the message's arrival at the service, so it excludes the delays of
    a busy caller.
    """
    counts: Counter[float] = Counter()
    for family in text_string_to_metric_families(_text(port)):
        if family.name != _CALLS:
            continue
        for sample in family.samples:
            if sample.name.endswith("_bucket") and sample.labels["code"] == _REFUSED:
                counts[float(sample.labels["le"])] += int(sample.value)
    bounds = sorted(counts)
    # Buckets are cumulative, so the last one counts all.
    reached = (bound for bound in bounds if counts[bound] >= share * counts[bounds[-1]] > 0)
    return next(reached, float("nan")) * 1e3


def stage_seconds(port: int, stage: str) -> tuple[float, int]:
    """Return the seconds that calls have spent in a stage so far, and the number of calls."""
    seconds, calls = 0.0, 0
    for family in text_string_to_metric_families(_text(port)):
        for sample in family.samples:
            if sample.labels.get("stage") == stage and sample.name == f"{_STAGES}_sum":
                seconds += sample.value
            elif sample.labels.get("stage") == stage and sample.name == f"{_STAGES}_count":
                calls += int(sample.value)
    return seconds, calls


def _text(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
