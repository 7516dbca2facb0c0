"""What served a reply."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """How long each step of a call took on the server, in microseconds.

    `resolve_us`: decoding and embedding pictures, or reading stored vectors;
    `queue_us`: waiting for the device; `search_us`: the search itself, shared by
    all calls of the batch; `lookup_us`: looking up keys, labels and URIs;
    `total_us`: from the call's arrival to its reply.
    """

    resolve_us: int
    queue_us: int
    search_us: int
    lookup_us: int
    total_us: int


@dataclass(frozen=True)
class Served:
    """What served a reply.

    `space` is "" when the reply is about several or none. `device` is such as
    "cpu", "cuda:0" or "shard(cuda:0,cuda:1)". `nprobe` is the largest number of
    inverted lists that a query visited (of a graph its efSearch), 0 when the search
    was exact or the index has none. `expected_recall` is the recall@k that was
    measured for the lists that were asked for when the index was built, 1 for an
    exact search, None when it was not measured.
    `batch_size` is the number of queries that were searched together.
    `pretrained` is False when the space's network is untrained: its neighbours
    mean nothing beyond colour and texture. `index` is the name of the index that
    was searched, "" when none was. `notes` are sentences that a reader of the
    reply should know, such as that a clustering lacks images of its space.
    """

    collection: str
    generation: int
    space: str
    device: str
    nprobe: int
    expected_recall: float | None
    batch_size: int
    pretrained: bool
    timings: Timings
    index: str = ""
    notes: tuple[str, ...] = ()
