"""What an engine is asked, and what it answers: arrays alone, so that both can pass between threads or processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.strategies import Found

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class Hits(NamedTuple):
    """Rows as `Rows` counts them and their distances, both (n, k), nearest first; row -1 where there are fewer.

    `nprobe` is the most lists that a query visited, of a graph the largest
    efSearch; 0 where everything was compared, or there are none. `scanned`:
    every stored embedding was compared. `device` is where they were found, such
    as "cpu" or "cuda:0". `complete`: no query has fewer neighbours than there
    are; what is not complete is to be asked again with a plan that scans.
    """

    rows: Int64
    distances: Float32
    nprobe: int
    scanned: bool
    device: str
    complete: bool


class Work(NamedTuple):
    """Queries (n, dim) that need not be prepared; `nprobe` as in Plan, `mask` None where every row may be found."""

    queries: Float32
    k: int
    nprobe: int
    mask: RowMask | None = None

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


def parted(batch: Sequence[Work], found: Found, device: str, there: int, scanned: bool = False) -> list[Hits]:
    """Each work's own lines, cut to its own k; `there` are the rows that could be found."""
    rows, distances, effort = found
    # As usual, every place was filled. Rows that were not found come last.
    full = scanned or bool((rows[:, -1] >= 0).all())
    hits = []
    start = 0
    for work in batch:
        end = start + work.size
        kept = rows[start:end, : work.k]
        complete = full or bool((kept[:, : min(work.k, work.matches(there))] >= 0).all())
        nprobe = int(effort[start:end].max())
        hits.append(Hits(kept, distances[start:end, : work.k], nprobe, scanned, device, complete))
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
    )
