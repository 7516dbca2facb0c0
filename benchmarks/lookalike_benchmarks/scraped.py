"""What a server itself measured, read from its metrics port."""

from __future__ import annotations

import http.client
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

_CALLS = "lookalike_call_seconds"
_STAGES = "lookalike_stage_seconds"
_REFUSED = "RESOURCE_EXHAUSTED"


def refused_within_ms(port: int, share: float) -> float:
    """The bucket's bound, in ms, within which such a share of the refusals was made; NaN when nothing was refused.

    From the message's arrival at the service: what a busy caller takes to send
    a call, and to notice its end, is not in it.
    """
    counts: Counter[float] = Counter()
    for family in text_string_to_metric_families(_text(port)):
        if family.name != _CALLS:
            continue
        for sample in family.samples:
            if sample.name.endswith("_bucket") and sample.labels["code"] == _REFUSED:
                counts[float(sample.labels["le"])] += int(sample.value)
    bounds = sorted(counts)
    # Cumulative, so that the last one has all of them.
    reached = (bound for bound in bounds if counts[bound] >= share * counts[bounds[-1]] > 0)
    return next(reached, float("nan")) * 1e3


def stage_seconds(port: int, stage: str) -> tuple[float, int]:
    """The seconds that calls spent in a stage so far, and how many calls there were."""
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
