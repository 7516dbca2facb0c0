"""Searches and their results: only arrays, so that they can pass between threads or processes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_server.columns.row_mask import Remaining, RowMask

# A front process needs neither, so it does not load faiss.
if TYPE_CHECKING:
    from lookalike_server.columns.rows import UnindexedVectors
    from lookalike_server.placement.facts import Facts, Strategy
    from lookalike_server.placement.strategies import RawHits


class FilterFacts(NamedTuple):
    """Execution facts of a search with a mask, with the strategy of most of its queries (facts.py).

    `matches` of all `rows` rows are allowed. `lists_visited` is the most inverted lists that a
    query visited, and `lists_skipped` the most lists without a match that it skipped. `local_share`
    is the smallest share of matches near a query, NaN if it was not estimated. `cached` means that
    everything derived from the mask was cached.
    """

    strategy: Strategy
    matches: int
    rows: int
    lists_visited: int = 0
    lists_skipped: int = 0
    local_share: float = math.nan
    cached: bool = False

    @classmethod
    def of(cls, mask: RowMask, facts: Facts) -> FilterFacts:
        """Combine the facts of all queries of a search."""
        looked = facts.local[~np.isnan(facts.local)]
        return cls(
            Counter(facts.strategy).most_common(1)[0][0],
            mask.count,
            len(mask),
            int(facts.visited.max()),
            int(facts.skipped.max()),
            float(looked.min()) if len(looked) else math.nan,
            bool(facts.cached.all()),
        )


class Hits(NamedTuple):
    """Result rows, counted as in `Rows`, and distances, both (n, k), nearest first. Missing rows are -1.

    `nprobe` is the most lists that a query visited, or the largest efSearch of a graph; 0 if
    everything was compared or the index has neither. `scanned`: every stored embedding was
    compared. `device` names where the rows were found, such as "cpu" or "cuda:0". `complete`: no
    query has fewer neighbors than exist; otherwise search again with a plan that scans. `filtered`
    is set if a mask was given.
    """

    rows: Int64
    distances: Float32
    nprobe: int
    scanned: bool
    device: str
    complete: bool
    filtered: FilterFacts | None = None


class Work(NamedTuple):
    """A search. Queries (n, dim) need not be normalized; `nprobe` is as in Plan; without `mask` every row is allowed.

    `live` holds images added since the index and the embeddings were stored. Their rows follow all
    others, and a mask covers them too.
    """

    queries: Float32
    k: int
    nprobe: int
    mask: RowMask | None = None
    live: UnindexedVectors | None = None

    @property
    def live_rows(self) -> int:
        """Number of images added since the index was stored."""
        return 0 if self.live is None else len(self.live.rows)

    @property
    def size(self) -> int:
        return len(self.queries)

    def part(self, start: int, stop: int) -> Work:
        """Return the search with only the queries `[start, stop)`."""
        return self._replace(queries=self.queries[start:stop])

    def matches(self, rows: int) -> int:
        """Return how many of the first `rows` rows are allowed."""
        if self.mask is None:
            return rows
        return self.mask.count if rows == len(self.mask) else int(np.count_nonzero(self.mask.bools[:rows]))


def joined(batch: Sequence[Work]) -> Float32:
    """Return the queries of a batch, concatenated."""
    return batch[0].queries if len(batch) == 1 else np.concatenate([work.queries for work in batch])


def parted(batch: Sequence[Work], found: RawHits, device: str, there: int, scanned: bool = False) -> list[Hits]:
    """Split the result of a batch into one Hits per search, cut to its k. `there` is the number of searchable rows."""
    rows, distances, effort, facts = found
    # In the usual case every place is filled. Missing rows come last.
    full = scanned or bool((rows[:, -1] >= 0).all())
    hits = []
    start = 0
    for work in batch:
        end = start + work.size
        kept = rows[start:end, : work.k]
        complete = full or bool((kept[:, : min(work.k, work.matches(there))] >= 0).all())
        nprobe = int(effort[start:end].max())
        filtered = None
        if work.mask is not None and facts is not None and not isinstance(work.mask, Remaining):
            filtered = FilterFacts.of(work.mask, facts.at(np.arange(start, end)))
        hits.append(Hits(kept, distances[start:end, : work.k], nprobe, scanned, device, complete, filtered))
        start = end
    return hits


def join_hits(parts: Sequence[Hits]) -> Hits:
    """Join the hits of a search that ran in pieces."""
    return Hits(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.distances for part in parts]),
        max(part.nprobe for part in parts),
        any(part.scanned for part in parts),
        parts[-1].device,
        all(part.complete for part in parts),
        _filtered([part.filtered for part in parts if part.filtered is not None]),
    )


def _filtered(parts: Sequence[FilterFacts]) -> FilterFacts | None:
    """Combine the filter facts of all pieces of a search."""
    if not parts:
        return None
    looked = [part.local_share for part in parts if not math.isnan(part.local_share)]
    return parts[-1]._replace(
        strategy=Counter(part.strategy for part in parts).most_common(1)[0][0],
        lists_visited=max(part.lists_visited for part in parts),
        lists_skipped=max(part.lists_skipped for part in parts),
        local_share=min(looked, default=math.nan),
        cached=all(part.cached for part in parts),
    )
