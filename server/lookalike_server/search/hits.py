"""What an engine is asked, and what it answers: arrays alone, so that both can pass between threads or processes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_server.columns.row_mask import Remaining, RowMask

# A front has none of these, and loads no faiss.
if TYPE_CHECKING:
    from lookalike_server.columns.rows import Beside
    from lookalike_server.placement.facts import Facts, Strategy
    from lookalike_server.placement.strategies import RawHits


class Filtered(NamedTuple):
    """How a search with a mask was done: by the strategy of most of its queries, see facts.py.

    `matches` of all `rows` may be found. `lists_visited` is the most inverted
    lists that a query visited, `lists_skipped` the most without a match that it
    passed. `local_share` is the least share of matches near a query, NaN where
    nobody looked. `cached`: what was derived from the mask was there already.
    """

    strategy: Strategy
    matches: int
    rows: int
    lists_visited: int = 0
    lists_skipped: int = 0
    local_share: float = math.nan
    cached: bool = False

    @classmethod
    def of(cls, mask: RowMask, facts: Facts) -> Filtered:
        """The queries of one search together."""
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
    """Rows as `Rows` counts them and their distances, both (n, k), nearest first; row -1 where there are fewer.

    `nprobe` is the most lists that a query visited, of a graph the largest
    efSearch; 0 where everything was compared, or there are none. `scanned`:
    every stored embedding was compared. `device` is where they were found, such
    as "cpu" or "cuda:0". `complete`: no query has fewer neighbors than there
    are; what is not complete is to be asked again with a plan that scans.
    `filtered` is there where a mask was given.
    """

    rows: Int64
    distances: Float32
    nprobe: int
    scanned: bool
    device: str
    complete: bool
    filtered: Filtered | None = None


class Work(NamedTuple):
    """Queries (n, dim) that need not be prepared; `nprobe` as in Plan, `mask` None where every row may be found.

    `live` are images that came since the index and the embeddings were stored, whose rows are behind all others; a
    mask is of their rows, too.
    """

    queries: Float32
    k: int
    nprobe: int
    mask: RowMask | None = None
    live: Beside | None = None

    @property
    def live_rows(self) -> int:
        """How many images came since."""
        return 0 if self.live is None else len(self.live.rows)

    @property
    def size(self) -> int:
        return len(self.queries)

    def part(self, start: int, stop: int) -> Work:
        """Some of the queries."""
        return self._replace(queries=self.queries[start:stop])

    def matches(self, rows: int) -> int:
        """How many of the first `rows` rows may be found."""
        if self.mask is None:
            return rows
        return self.mask.count if rows == len(self.mask) else int(np.count_nonzero(self.mask.bools[:rows]))


def joined(batch: Sequence[Work]) -> Float32:
    """The queries of a batch."""
    return batch[0].queries if len(batch) == 1 else np.concatenate([work.queries for work in batch])


def parted(batch: Sequence[Work], found: RawHits, device: str, there: int, scanned: bool = False) -> list[Hits]:
    """Each work's own lines, cut to its own k; `there` are the rows that could be found."""
    rows, distances, effort, facts = found
    # As usual, every place was filled. Rows that were not found come last.
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
            filtered = Filtered.of(work.mask, facts.at(np.arange(start, end)))
        hits.append(Hits(kept, distances[start:end, : work.k], nprobe, scanned, device, complete, filtered))
        start = end
    return hits


def whole(parts: Sequence[Hits]) -> Hits:
    """The hits of a work that was run in pieces."""
    return Hits(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.distances for part in parts]),
        max(part.nprobe for part in parts),
        any(part.scanned for part in parts),
        parts[-1].device,
        all(part.complete for part in parts),
        _filtered([part.filtered for part in parts if part.filtered is not None]),
    )


def _filtered(parts: Sequence[Filtered]) -> Filtered | None:
    """How all pieces of a search were done."""
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
