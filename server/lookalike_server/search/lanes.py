"""What runs a batch of searches: an index on its devices, or a pass over every stored embedding."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.indexing.exact import exact_search
from lookalike_indexer.indexing.metric import prepare
from lookalike_server.columns.row_mask import Bools
from lookalike_server.columns.rows import Beside, Rows
from lookalike_server.placement.placed import Placed
from lookalike_server.placement.searcher import Searcher
from lookalike_server.placement.strategies import Found
from lookalike_server.search.hits import Hits, Work, joined, parted

log = logging.getLogger(__name__)


class IndexLane:
    """Runs a batch on a placed index, and places it anew when its device fails."""

    def __init__(
        self, place: Placed, entry: IndexEntry, claim: Callable[[float], None], beside: Beside | None, there: int
    ) -> None:
        self._beside = beside
        # The images that it can find.
        self._there_are = there
        self._claim = claim
        self._searcher: Searcher | None = place.searcher
        self.device = place.searcher.name
        self._again = place.again
        self._entry = entry

    def __call__(self, batch: list[Work]) -> list[Hits]:
        # All at once: numpy costs a call as much for one row as for some.
        queries = prepare(joined(batch), self._entry.metric)
        self._claim(len(queries) / len(batch))
        wanted = np.repeat([work.k for work in batch], [work.size for work in batch])
        found = self._there().search(queries, int(wanted.max()), batch[0].nprobe, wanted)
        if self._beside is not None:
            found = Found(*self._beside.merged(queries, found.rows, found.distances), found.effort)
        return parted(batch, found, self.device, self._there_are)

    def recover(self) -> None:
        """Make sure that the index can be searched. DeviceError: it cannot, for now.

        A device that only lacked memory for one batch keeps its index; otherwise
        what it may still hold of it is given up before it is placed anew.
        """
        try:
            self._probe()
        except DeviceError as error:
            if self._again is None:
                raise
            if self._searcher is not None:
                # Not with each attempt.
                log.warning("the index of the space %s is placed anew: %s", self._entry.space, error)
        else:
            return
        self._place_again(self._again)

    def leave(self) -> None:
        """Placed the index elsewhere, without asking a device that hangs. DeviceError: it cannot be, for now."""
        if self._again is not None:
            self._place_again(self._again)

    def _place_again(self, again: Callable[[], Searcher]) -> None:
        self.close()
        self._searcher = None
        searcher = again()
        self._searcher, self.device = searcher, searcher.name
        self._probe()
        log.info("the index of the space %s is on %s now", self._entry.space, self.device)

    def close(self) -> None:
        if self._searcher is not None:
            self._searcher.close()

    def _there(self) -> Searcher:
        if self._searcher is None:
            raise DeviceError(
                f"The index of the space {self._entry.space} is not on {self.device} any more; ask later."
            )
        return self._searcher

    def _probe(self) -> None:
        searcher = self._there()
        # Not zeros, which would be as near to one image as to every other.
        query = np.full((1, searcher.dim), 1 / math.sqrt(searcher.dim), np.float32)
        searcher.search(query, 1, min(1, self._entry.nlist))


class ScanLane:
    """Runs a batch by comparing with every stored embedding, one block in memory at a time."""

    def __init__(self, rows: Rows, entry: IndexEntry) -> None:
        self._rows = rows
        self._entry = entry

    def __call__(self, batch: list[Work]) -> list[Hits]:
        k = max(work.k for work in batch)
        queries = prepare(joined(batch), self._entry.metric)
        rows, distances = exact_search(self._rows.blocks(), queries, k, self._entry.metric, _allowed(batch))
        found = Found(rows, distances, np.zeros(len(rows), np.int64))
        return parted(batch, found, "cpu", len(self._rows.ids), scanned=True)


def _allowed(batch: list[Work]) -> list[Bools | None] | None:
    """For each query of a batch the rows that it may find; None where all may find everything."""
    if all(work.mask is None for work in batch):
        return None
    return [None if work.mask is None else work.mask.bools for work in batch for _ in range(work.size)]
