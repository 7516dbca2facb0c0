"""Gauges that are read from the server at each scrape and not stored."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lookalike_server.generation.current import Current
from lookalike_server.observe.audit import RecallAudit
from lookalike_server.placement.devices import Device
from lookalike_server.placement.memory import device_memory
from lookalike_server.processes.hangs import Hangs


class WatchedCollection(Protocol):
    """A collection as gauges read it. Thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def current(self) -> Current: ...

    @property
    def cached_bytes(self) -> int: ...

    @property
    def shard_replicas(self) -> Mapping[int, int]:
        """Number of replicas of each shard that answer; empty unless the server is a router."""
        ...

    @property
    def audit(self) -> RecallAudit | None: ...

    def queues(self) -> Mapping[str, int]:
        """Return the length of each queue."""
        ...


class RunningBatch(Protocol):
    """Calls and bytes in flight of all peers; see admission.py."""

    @property
    def accounts(self) -> Sized: ...

    @property
    def arriving(self) -> int: ...

    @property
    def held_bytes(self) -> int: ...

    @property
    def streams(self) -> int: ...


class MonitoredServer(Protocol):
    """A server as gauges read it. Thread-safe."""

    @property
    def collections(self) -> Sequence[WatchedCollection]: ...

    @property
    def calls_in_flight(self) -> int: ...

    @property
    def front_bytes(self) -> Mapping[int, int]: ...

    @property
    def hangs(self) -> Hangs: ...

    @property
    def admission(self) -> RunningBatch: ...

    def shared_queues(self) -> Mapping[str, int]:
        """Return the length of each queue that collections share."""
        ...


class Gauges(Collector):
    """Gauges of generations, sizes, queues, device memory, and recall."""

    def __init__(self, watched: MonitoredServer, devices: Sequence[Device]) -> None:
        self._watched, self._devices = watched, devices

    def describe(self) -> list[Metric]:
        """Return no metrics, because registering must not read the server."""
        return []

    def collect(self) -> Iterator[Metric]:
        watched = self._watched
        yield from _of_collections(watched.collections, watched.shared_queues())
        hung = CounterMetricFamily(
            "lookalike_hung", "Hung workers and processes that the server gave up.", labels=["what"]
        )
        for what, count in watched.hangs.counts.items():
            hung.add_metric([what], count)
        yield hung
        yield GaugeMetricFamily("lookalike_calls_in_flight", "Calls that are being answered.", watched.calls_in_flight)
        admission = watched.admission
        yield GaugeMetricFamily("lookalike_peers", "Addresses with calls in flight.", len(admission.accounts))
        yield GaugeMetricFamily("lookalike_streams", "Health watches and reflection calls.", admission.streams)
        yield GaugeMetricFamily("lookalike_messages_arriving", "Messages that are arriving.", admission.arriving)
        yield GaugeMetricFamily("lookalike_message_bytes", "Messages of calls in flight.", admission.held_bytes)
        yield from self._memory()
        yield _fronts(watched.front_bytes)

    def _memory(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("lookalike_device_memory_used_bytes", "Memory in use on a GPU.", labels=["device"])
        total = GaugeMetricFamily("lookalike_device_memory_bytes", "Memory of a GPU.", labels=["device"])
        for device in self._devices:
            memory = device_memory(device.name)
            if memory is not None:
                used.add_metric([device.name], memory.total - memory.free)
                total.add_metric([device.name], memory.total)
        yield from (used, total)


def _fronts(resident: Mapping[int, int]) -> Metric:
    family = GaugeMetricFamily("lookalike_front_resident_bytes", "Resident memory of each front.", labels=["front"])
    for number, size in sorted(resident.items()):
        family.add_metric([str(number)], size)
    return family


class _Family:
    """Gauges of one name. With several collections, the label `collection` names each."""

    def __init__(self, several: bool, name: str, text: str, *labels: str) -> None:
        self._several = several
        self.metric = GaugeMetricFamily(name, text, labels=[*labels, *(["collection"] if several else [])])

    def add(self, collection: str, value: float, *labels: str) -> None:
        """Add the value of a collection; "" means all collections."""
        self.metric.add_metric([*labels, *([collection] if self._several else [])], value)


def _of_collections(collections: Sequence[WatchedCollection], shared: Mapping[str, int]) -> Iterator[Metric]:
    family = functools.partial(_Family, len(collections) > 1)
    generation = family("lookalike_generation", "The served generation.")
    images = family("lookalike_images", "Images of the served generation.")
    held = family("lookalike_generations_held", "Generations in memory: 2 during a swap.")
    lease = family("lookalike_oldest_lease_seconds", "Age of the oldest lease of a generation.")
    kept = family("lookalike_kept_answers_bytes", "Cached results of experiments.")
    rows = family("lookalike_index_rows", "Rows of each index.", "space", "index")
    size = family("lookalike_index_bytes", "Size of each index's file.", "space", "index")
    queue = family("lookalike_queue_length", "Queued items of each queue.", "lane")
    replicas = family("lookalike_shard_replicas", "Available replicas of each shard.", "shard")
    for one in collections:
        held.add(one.name, len(one.current.generations))
        lease.add(one.name, one.current.oldest_lease_s)
        kept.add(one.name, one.cached_bytes)
        for lane, waiting in one.queues().items():
            queue.add(one.name, waiting, lane)
        for shard, count in one.shard_replicas.items():
            replicas.add(one.name, count, str(shard))
        snapshot = one.current.newest
        if snapshot is None:
            continue
        manifest = snapshot.reader.manifest
        generation.add(one.name, snapshot.generation)
        images.add(one.name, len(snapshot.columns))
        for entry in manifest.indexes.values():
            rows.add(one.name, entry.rows, entry.space, entry.name)
            size.add(one.name, sum(manifest.files[path].bytes for path in entry.index_files), entry.space, entry.name)
    for lane, waiting in shared.items():
        queue.add("", waiting, lane)
    yield from (each.metric for each in (generation, images, held, lease, kept, rows, size, queue, replicas))
    if any(one.audit for one in collections):
        yield from _recall(collections)


def _recall(collections: Sequence[WatchedCollection]) -> Iterator[Metric]:
    labels = ("space", "effort", "filtered")
    family = functools.partial(_Family, len(collections) > 1)
    recall = family("lookalike_recall_at_k", "Mean recall@k of audited live queries.", *labels)
    expected = family(
        "lookalike_recall_expected",
        "Recall measured at build time for the same queries' nprobe.",
        *labels,
    )
    queries = family("lookalike_recall_queries", "Queries that the recall is the mean of.", *labels)
    for collection in collections:
        for one in [] if collection.audit is None else collection.audit.results():
            values = one.space, one.effort, "true" if one.filtered else "false"
            recall.add(collection.name, one.recall, *values)
            queries.add(collection.name, one.queries, *values)
            if one.expected is not None:
                expected.add(collection.name, one.expected, *values)
    yield from (each.metric for each in (recall, expected, queries))
