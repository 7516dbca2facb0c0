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
class Plan:
    """How a search was made.

    `strategy` is "exact" where every match was compared, "index" where the index
    was searched without a filter, and otherwise how it was searched with one:
    "lists", "matching-lists", "matches", "graph", "over-fetch" or "none".
    `filter` is the filter as text, "" without one. `matches` of the `rows` images
    of the space match, exactly. `lists_visited` is the most inverted lists that a
    query visited, `lists_skipped` the most among these that hold no match.
    `local_share` is the share of matches among the images nearest to the query,
    None where it was not looked at. `cached` tells that the matches were known.
    """

    strategy: str
    filter: str
    matches: int
    rows: int
    lists_visited: int
    lists_skipped: int
    local_share: float | None
    cached: bool

    def __str__(self) -> str:
        """The plan as a sentence."""
        share = 100 * self.matches / self.rows if self.rows else 0.0
        how = _HOW.get(self.strategy, f"searched by {self.strategy}")
        if not self.filter:
            told = [f"all {self.rows:,} images were compared" if self.strategy in _COMPARED else how]
        else:
            told = [f"{self.matches:,} of {self.rows:,} images match ({share:.3g}%)"]
            told += [how] if self.matches and self.strategy != "none" else []
        if self.lists_visited:
            skipped = f", {self.lists_skipped:,} without a match were skipped" if self.lists_skipped else ""
            told.append(f"{self.lists_visited:,} lists visited{skipped}")
        if self.local_share is not None:
            told.append(f"{100 * self.local_share:.3g}% of the nearest images match")
        if self.cached:
            told.append("the matches were known from an earlier call")
        return "; ".join(told)


_COMPARED = ("exact", "matching-lists", "matches")
_HOW = {
    "exact": "every one of them was compared",
    "index": "searched by the index",
    "lists": "the nearest inverted lists were searched",
    "matching-lists": "every one of them was compared",
    "matches": "every one of them was compared",
    "graph": "the index followed its graph past the images that do not match",
    "over-fetch": "the index found more images than asked for, and those that do not match were left out",
    "none": "no image matches",
}


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
    `pretrained` is False when the space's network is untrained: its neighbors
    mean nothing beyond color and texture. `index` is the name of the index that
    was searched, "" when none was. `notes` are sentences that a reader of the
    reply should know, such as that a clustering lacks images of its space. `plan`
    tells how a search with a filter was made; None without one, unless it was asked
    for. `sequence` is the number of the last change that the reply has seen.
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
    plan: Plan | None = None
    sequence: int = 0
