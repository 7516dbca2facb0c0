"""The server's report on a reply: generation, space, device, timings and plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Duration of each step of a call on the server, in microseconds.

    - `resolve_us`: decode and embed images, or read stored vectors.
    - `queue_us`: wait for the device.
    - `search_us`: search, shared by all calls of the batch.
    - `lookup_us`: look up keys, labels and URIs.
    - `total_us`: from the arrival of the call to its reply.
    """

    resolve_us: int
    queue_us: int
    search_us: int
    lookup_us: int
    total_us: int


@dataclass(frozen=True)
class Plan:
    """Plan of a search. `str(plan)` is a sentence about it.

    - `strategy`: "exact" if the query was compared with every match; "index" if the index was searched without a
      filter. With a filter: "lists", "matching-lists", "matches", "graph", "over-fetch" or "none".
    - `filter`: the filter as text, "" without one.
    - `matches`: the exact number of matches among the `rows` images of the space.
    - `lists_visited`: the largest number of inverted lists that a query visited.
    - `lists_skipped`: the largest number of these lists that had no match and were skipped.
    - `local_share`: the share of matches among the images nearest to the query; None if it was not estimated.
    - `cached`: True if the matches were cached by an earlier call.
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
        """Return the plan as a sentence."""
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
    """The server's report on a reply.

    - `collection`, `generation`: the collection and its generation that served the reply.
    - `space`: the embedding space; "" if the reply is about several spaces or none.
    - `device`: such as "cpu", "cuda:0" or "shard(cuda:0,cuda:1)".
    - `nprobe`: the largest number of inverted lists that a query visited, or efSearch for a graph index; 0 if the
      search was exact or the index has no lists.
    - `expected_recall`: recall@k measured for this number of lists when the index was built; 1 for an exact search,
      None if it was not measured.
    - `batch_size`: the number of queries that the server searched together.
    - `pretrained`: False if the space's network is untrained. Neighbors then mean nothing beyond color and texture.
    - `timings`: the duration of each step.
    - `index`: the name of the index that was searched, "" if none was.
    - `notes`: sentences for the reader of the reply, such as that a clustering lacks images of its space.
    - `plan`: the plan of a search with a filter or with `explain`; None otherwise.
    - `sequence`: the number of the last change that the reply includes.
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
