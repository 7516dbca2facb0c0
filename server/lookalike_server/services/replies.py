"""Parts that replies share: columns of images, and what served them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc

from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, filter_pb2, types_pb2
from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_server.columns.clusterings import Members
from lookalike_server.columns.columns import Columns
from lookalike_server.common import visible
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space

Attributes = Sequence[filter_pb2.AttributeValues]
METRICS: Final[dict[Metric, collection_pb2.Metric.ValueType]] = {
    "cosine": collection_pb2.METRIC_COSINE,
    "l2": collection_pb2.METRIC_L2,
}


@dataclass
class Stopwatch:
    """Timer of a call from its arrival in the handler. The steps are in microseconds."""

    started: float = field(default_factory=time.perf_counter)
    resolve_us: int = 0
    queue_us: int = 0
    search_us: int = 0
    lookup_us: int = 0

    def put(self, timings: types_pb2.Timings) -> None:
        """Fill in the steps and the total so far."""
        timings.resolve_us, timings.queue_us = self.resolve_us, self.queue_us
        timings.search_us, timings.lookup_us = self.search_us, self.lookup_us
        timings.total_us = round((time.perf_counter() - self.started) * 1e6)


def put_served(
    reply: types_pb2.Served, snapshot: Snapshot, space: Space | None, watch: Stopwatch, device: str = "cpu"
) -> None:
    """Fill in what served the reply. Without a space, `pretrained` is true if all spaces are pretrained."""
    reply.collection, reply.generation, reply.device = snapshot.name, snapshot.generation, device
    reply.sequence = snapshot.sequence
    if space is None:
        reply.pretrained = all(one.pretrained for one in snapshot.spaces.values())
    else:
        reply.space, reply.pretrained = space.name, space.pretrained
    watch.put(reply.timings)


def served(
    snapshot: Snapshot, space: Space | None, watch: Stopwatch, notes: Sequence[str] = (), device: str = "cpu"
) -> types_pb2.Served:
    """Return what `put_served` fills in, with notes for the reader of the reply."""
    reply = types_pb2.Served(notes=visible.texts(notes))
    put_served(reply, snapshot, space, watch, device)
    return reply


def served_generation(snapshot: Snapshot, space: Space | None, watch: Stopwatch) -> types_pb2.Served:
    """Return `served` for a reply about the stored generation, without the later changes."""
    base = snapshot.base
    notes = []
    if snapshot.sequence > base.sequence:
        changes = snapshot.sequence - base.sequence
        notes.append(
            f"as of generation {base.generation} and change {base.sequence}: {changes:,} later "
            f"{'change is' if changes == 1 else 'changes are'} not part of it; client.fold() folds them in"
        )
    reply = served(base, space, watch, notes)
    # A view may have another name than its folder.
    reply.collection = snapshot.name
    return reply


def as_field(number: int, message: bytes) -> bytes:
    """Return a serialized message as field `number`, below 16, of another message that continues after it.

    So existing bytes are neither parsed nor serialized again.
    """
    length, size = bytearray(), len(message)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | 2]) + bytes(length) + message


def images(columns: Columns, rows: Int64, attributes: Attributes = ()) -> collection_pb2.ImageColumns:
    return collection_pb2.ImageColumns(
        ids=wire.encode(columns.ids[rows]),
        keys=columns.keys(rows),
        labels=columns.labels(rows),
        uris=visible.uris(columns.uris(rows)),
        widths=wire.encode(columns.widths(rows)),
        heights=wire.encode(columns.heights(rows)),
        attributes=attributes,
    )


def members(
    columns: Columns, found: Members, attributes: Callable[[Int64], Attributes] = lambda rows: ()
) -> cluster_pb2.Members:
    """Return members as columns. `attributes` returns the requested values of some rows (n,) of the images."""
    rows = columns.rows_of_ids(found.ids)
    return cluster_pb2.Members(
        ids=wire.encode(found.ids),
        distances=wire.encode(found.distances),
        margins=wire.encode(found.margins),
        keys=columns.keys(rows),
        labels=columns.labels(rows),
        attributes=attributes(rows),
    )


def deadline_of(context: grpc.aio.ServicerContext[object, object]) -> float | None:
    """Return the caller's deadline in the time of `time.monotonic`, or None."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
