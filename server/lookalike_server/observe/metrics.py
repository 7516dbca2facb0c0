"""Prometheus metrics of calls and batches.

docs/observability.md lists names, labels, and meanings; a test compares them. Labels have few
values, all defined here: nothing that a caller sends becomes a label.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from lookalike_server.common.call_record import CallRecord

# Environment variable that the library reads when it is imported.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# From a quarter of a millisecond, less than any call takes, to the longest deadlines.
_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def of_all_processes(own: CollectorRegistry) -> CollectorRegistry:
    """Return a registry of the metrics of all processes of a server, or `own` if there is only one process.

    If an environment variable names a folder, Prometheus's library stores metrics in files that the
    processes share.
    """
    if FOLDER not in os.environ:
        return own
    registry = CollectorRegistry(auto_describe=True)
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class Metrics:
    """Metrics of one server, in its own registry. A sink of calls, and an observer of batches.

    With `several`, metrics of a collection have its name as the label `collection`.
    """

    def __init__(self, several: bool = False) -> None:
        self._several = several
        more = ("collection",) if several else ()
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._calls = Histogram(
            "lookalike_call_seconds", "Calls by RPC and gRPC code, from arrival to reply.", ("rpc", "code", *more),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._rejected = Counter(
            "lookalike_rejected", "Rejected and failed calls, by cause.", ("cause", *more), registry=registry
        )
        self._stages = Histogram(
            "lookalike_stage_seconds", "Time that a call spent in each stage.", ("stage", *more),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._sizes = Histogram(
            "lookalike_batch_size",
            "Queries that ran in one batch.",
            ("lane", *more),
            buckets=_SIZES,
            registry=registry,
        )
        self._waits = Histogram(
            "lookalike_queue_wait_seconds", "Time from queueing to the start of the batch.", ("lane", *more),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._runs = Histogram(
            "lookalike_batch_seconds", "Time that a batch ran.", ("lane", *more), buckets=_SECONDS, registry=registry
        )
        self._audited = Counter(
            "lookalike_recall_audits", "Live queries taken for the recall audit, by outcome.", ("outcome", *more),
            registry=registry,
        )  # fmt: skip
        self._answered = Counter(
            "lookalike_front_calls", "Calls that a front received, by the process that answered.", ("answered_by",),
            registry=registry,
        )  # fmt: skip
        # Looking up a label takes as long as observing, so each is cached.
        self._by_call: dict[tuple[str, str, str], Histogram] = {}
        self._by_stage: dict[tuple[str, str], Histogram] = {}
        self._by_process: dict[str, Counter] = {}

    def ended(self, call: CallRecord) -> None:
        """Count an answered call."""
        key = (call.rpc, call.code, call.collection)
        seconds = self._by_call.get(key)
        if seconds is None:
            seconds = self._by_call[key] = self._calls.labels(*self._values(call.rpc, call.code, of=call.collection))
        seconds.observe(call.seconds)
        if call.code != "OK":
            self._rejected.labels(*self._values(call.cause or call.code, of=call.collection)).inc()
        if call.answered_by:
            self._process(call.answered_by).inc()
        for step in call.stages:
            if step.name != "queue":
                self._stage(step.name, call.collection).observe(step.seconds)

    def audited(self, outcome: str, queries: int, collection: str = "") -> None:
        """Count queries that the recall audit of a collection searched or dropped."""
        self._audited.labels(*self._values(outcome, of=collection)).inc(queries)

    def lane(self, name: str, collection: str = "") -> Lane:
        """Return the observer of the batches of one queue of a collection."""
        values = self._values(name, of=collection)
        return Lane(self._sizes.labels(*values), self._waits.labels(*values), self._runs.labels(*values))

    def _process(self, name: str) -> Counter:
        found = self._by_process.get(name)
        if found is None:
            found = self._by_process[name] = self._answered.labels(name)
        return found

    def _stage(self, name: str, collection: str) -> Histogram:
        found = self._by_stage.get((name, collection))
        if found is None:
            found = self._by_stage[name, collection] = self._stages.labels(*self._values(name, of=collection))
        return found

    def _values(self, *values: str, of: str) -> tuple[str, ...]:
        """Return the values of labels, including `collection` if there are several."""
        return (*values, of) if self._several else values


class Lane:
    """Observer of the batches of one queue. The threads that run them call it."""

    def __init__(self, sizes: Histogram, waits: Histogram, runs: Histogram) -> None:
        self._sizes, self._waits, self._runs = sizes, waits, runs

    def __call__(self, size: int, waits: Sequence[float], seconds: float) -> None:
        self._sizes.observe(size)
        self._runs.observe(seconds)
        for wait in waits:
            self._waits.observe(wait)
