from __future__ import annotations

import math

from lookalike_benchmarks.scraped import refused_within_ms
from lookalike_server.common.call_record import CallRecord
from lookalike_server.observe.exposition import MetricsPort
from lookalike_server.observe.metrics import Metrics


def test_time_bound_counts_only_rejected_calls():
    metrics = Metrics()
    port = MetricsPort("127.0.0.1", 0, metrics.registry)
    try:
        assert math.isnan(refused_within_ms(port.port, 0.99))
        for code, seconds, calls in (
            ("OK", 5.0, 100),
            ("RESOURCE_EXHAUSTED", 0.0004, 98),
            ("RESOURCE_EXHAUSTED", 0.03, 2),
        ):
            for _ in range(calls):
                metrics.ended(CallRecord("Search", "id", code=code, seconds=seconds))
        assert refused_within_ms(port.port, 0.95) == 0.5
        assert refused_within_ms(port.port, 0.99) == 50
    finally:
        port.close()
