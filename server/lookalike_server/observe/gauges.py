"""What is true at the moment of a scrape: read from the server then, and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.observe.audit import Audited, RecallAudit
from lookalike_server.placement.devices import Device
from lookalike_server.placement.memory import device_memory
from lookalike_server.processes.hangs import Hangs
from lookalike_server.transport.admission import Admission


class Watched(Protocol):
    """What a server lets be seen of itself, at any time and from any thread."""

    @property
    def current(self) -> Current: ...

    @property
    def calls_in_flight(self) -> int: ...

    @property
    def hangs(self) -> Hangs: ...

    @property
    def kept_bytes(self) -> int: ...

    @property
    def admission(self) -> Admission: ...

    def queues(self) -> Mapping[str, int]:
        """What waits, by queue."""
        ...


class Gauges(Collector):
    """Generation, sizes, queues, device memory and recall."""

    def __init__(self, watched: Watched, devices: Sequence[Device], audit: RecallAudit | None) -> None:
        self._watched, self._devices, self._audit = watched, devices, audit

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering this must not read the server."""
        return []

    def collect(self) -> Iterator[Metric]:
        watched = self._watched
        snapshot = watched.current.newest
        if snapshot is not None:
            yield from _of(snapshot)
        yield GaugeMetricFamily(
            "lookalike_generations_held", "Generations in memory: 2 while a swap is under way.",
            len(watched.current.generations),
        )  # fmt: skip
        yield GaugeMetricFamily(
            "lookalike_oldest_lease_seconds", "How long the oldest call that holds a generation has held it.",
            watched.current.oldest_lease_s,
        )  # fmt: skip
        hung = CounterMetricFamily("lookalike_hung", "How often what hung was given up.", labels=["what"])
        for what, count in watched.hangs.counts.items():
            hung.add_metric([what], count)
        yield hung
        yield GaugeMetricFamily(
            "lookalike_kept_answers_bytes", "The answers of experiments that are kept in memory.", watched.kept_bytes
        )
        yield GaugeMetricFamily("lookalike_calls_in_flight", "Calls that are being answered.", watched.calls_in_flight)
        admission = watched.admission
        yield GaugeMetricFamily("lookalike_peers", "Addresses with calls under way.", len(admission.accounts))
        yield GaugeMetricFamily("lookalike_streams", "Health watches and reflection calls.", admission.streams)
        yield GaugeMetricFamily("lookalike_messages_arriving", "Messages that are arriving.", admission.arriving)
        yield GaugeMetricFamily("lookalike_message_bytes", "Messages of calls under way.", admission.held_bytes)
        yield _labelled("lookalike_queue_length", "What waits in each queue.", "lane", watched.queues())
        yield from self._memory()
        if self._audit:
            yield from _recall(self._audit.results())

    def _memory(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("lookalike_device_memory_used_bytes", "Memory in use on a GPU.", labels=["device"])
        total = GaugeMetricFamily("lookalike_device_memory_bytes", "Memory of a GPU.", labels=["device"])
        for device in self._devices:
            memory = device_memory(device.name)
            if memory is not None:
                used.add_metric([device.name], memory.total - memory.free)
                total.add_metric([device.name], memory.total)
        yield from (used, total)


def _of(snapshot: Snapshot) -> Iterator[Metric]:
    manifest = snapshot.reader.manifest
    yield GaugeMetricFamily("lookalike_generation", "The generation that is served.", snapshot.generation)
    yield GaugeMetricFamily("lookalike_images", "Images of the generation that is served.", len(snapshot.columns))
    rows = GaugeMetricFamily("lookalike_index_rows", "Rows of each index.", labels=["space", "index"])
    size = GaugeMetricFamily("lookalike_index_bytes", "Size of each index's file.", labels=["space", "index"])
    for entry in manifest.indexes.values():
        rows.add_metric([entry.space, entry.name], entry.rows)
        size.add_metric([entry.space, entry.name], manifest.files[entry.path].bytes)
    yield from (rows, size)


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _recall(audited: Iterable[Audited]) -> Iterator[Metric]:
    labels = ["space", "effort", "filtered"]
    recall = GaugeMetricFamily("lookalike_recall_at_k", "Mean recall@k of audited live queries.", labels=labels)
    expected = GaugeMetricFamily(
        "lookalike_recall_expected", "Recall that was measured at build time for the same queries' nprobe.",
        labels=labels,
    )  # fmt: skip
    queries = GaugeMetricFamily("lookalike_recall_queries", "Queries that the recall is the mean of.", labels=labels)
    for one in audited:
        key = [one.space, one.effort, "true" if one.filtered else "false"]
        recall.add_metric(key, one.recall)
        queries.add_metric(key, one.queries)
        if one.expected is not None:
            expected.add_metric(key, one.expected)
    yield from (recall, expected, queries)
