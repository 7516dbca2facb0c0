"""Worker functions that run a batch of searches: on a placed index, or as a scan of all embeddings."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.row_mask import Remaining
from lookalike_server.columns.rows import Rows, UnindexedVectors
from lookalike_server.placement.facts import Facts
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.placed_index import PlacedIndex
from lookalike_server.placement.searcher import Searcher
from lookalike_server.placement.strategies import RawHits, by_distance
from lookalike_server.search.hits import Hits, Work, joined, parted

log = logging.getLogger(__name__)

# Up to this many deleted images are searched for and then dropped, which is cheaper than a mask.
_FEW_DELETED = 32
# Largest k of an index on a GPU.
_MOST_SELECTED = 2048


class IndexLane:
    """Worker that runs a batch on a placed index, and places the index again after its device has failed."""

    def __init__(
        self,
        placed: PlacedIndex,
        entry: IndexEntry,
        claim: Callable[[float], None],
        rows: Rows,
        beside: UnindexedVectors | None,
    ) -> None:
        self._indexed = rows.indexed
        self._beside = beside
        # Number of images that this lane can find.
        self._there_are = rows.indexed if beside is None else len(rows.ids)
        self._claim = claim
        self._searcher: Searcher | None = placed.searcher
        self.device = placed.searcher.name
        self._again = placed.again
        self._entry = entry

    def __call__(self, batch: list[Work]) -> list[Hits]:
        # One call for the whole batch: numpy's overhead is the same for one row as for several.
        queries = prepare(joined(batch), self._entry.metric)
        self._claim(len(queries) / len(batch))
        wanted = np.repeat([work.k for work in batch], [work.size for work in batch])
        masks = masks_of(batch)
        theirs = None if masks is None else masks.part(0, self._indexed)
        if theirs is not None and all(isinstance(work.mask, Remaining) for work in batch):
            found = self._without_deleted(queries, batch[0].nprobe, wanted, theirs)
        else:
            found = self._there().search(queries, int(wanted.max()), batch[0].nprobe, wanted, theirs)
            if theirs is not None:
                found = _checked(found, theirs, self.device)
        # All searches of a batch have the same live images; see Engine.
        live = batch[0].live
        # Callers who request more effort than usual, request it for new images too.
        thorough = batch[0].nprobe > self._entry.default_nprobe
        for beside in (self._beside, live):
            if beside is not None:
                rows, distances = beside.merged(
                    queries, found.rows, found.distances, _allowed(masks), thorough=thorough
                )
                found = found._replace(rows=rows, distances=distances)
        return parted(batch, found, self.device, self._there_are + batch[0].live_rows)

    def _without_deleted(self, queries: Float32, nprobe: int, wanted: Int64, masks: QueryMasks) -> RawHits:
        """Return the neighbors that are not deleted.

        If few images are deleted, find and drop them; otherwise use masks.
        """
        k, gone = int(wanted.max()), self._indexed - int(masks.matches.min())
        if gone > _FEW_DELETED or k + gone > _MOST_SELECTED:
            return _checked(self._there().search(queries, k, nprobe, wanted, masks), masks, self.device)
        found = self._there().search(queries, k + gone, nprobe, wanted + gone)
        if gone:
            keep = masks.allow(found.rows)
            rows, distances = by_distance(
                np.where(keep, found.rows, -1), np.where(keep, found.distances, np.float32(np.inf))
            )
            found = found._replace(rows=rows[:, :k], distances=distances[:, :k])
        return found

    def recover(self) -> None:
        """Make sure that the index can be searched. Raises DeviceError if it cannot now.

        A device that only ran out of memory for one batch keeps its index. Otherwise the old index
        is released before it is placed again.
        """
        try:
            self._probe()
        except DeviceError as error:
            if self._again is None:
                raise
            if self._searcher is not None:
                # Log only the first attempt.
                log.warning("the index of the space %s is placed again: %s", self._entry.space, error)
        else:
            return
        self._place_again(self._again)

    def leave(self) -> None:
        """Place the index elsewhere, without calling a hung device. Raises DeviceError if that fails for now."""
        if self._again is not None:
            self._place_again(self._again)

    def _place_again(self, again: Callable[[], Searcher]) -> None:
        self.close()
        self._searcher = None
        searcher = again()
        self._searcher, self.device = searcher, searcher.name
        self._probe()
        log.info("the index of the space %s is now on %s", self._entry.space, self.device)

    def close(self) -> None:
        if self._searcher is not None:
            self._searcher.close()

    def _there(self) -> Searcher:
        if self._searcher is None:
            raise DeviceError(f"The index of the space {self._entry.space} is no longer on {self.device}; retry later.")
        return self._searcher

    def _probe(self) -> None:
        searcher = self._there()
        # Not zeros, which would be equally near to all images.
        query = np.full((1, searcher.dim), 1 / math.sqrt(searcher.dim), np.float32)
        searcher.search(query, 1, min(1, self._entry.nlist))


# Returns the k nearest of all stored embeddings to prepared queries (n, dim), limited to their masks: rows and
# distances (n, k), as exact_search returns them.
Scan = Callable[[Float32, int, QueryMasks | None], tuple[Int64, Float32]]


class EmbeddingScan:
    """Scan of the stored embeddings, one block in memory at a time; with `places`, of that range only."""

    def __init__(self, rows: Rows, metric: Metric, places: tuple[int, int] | None = None) -> None:
        self._rows = rows
        self._metric: Metric = metric
        self._places = places

    def __call__(self, queries: Float32, k: int, masks: QueryMasks | None) -> tuple[Int64, Float32]:
        stored = len(self._rows.ids)
        wanted = None if masks is None else np.logical_or.reduce([mask.bools[:stored] for mask in masks.masks])
        blocks = self._rows.blocks(wanted, self._places)
        return exact_search(blocks, queries, k, self._metric, _allowed(masks))


class ScanLane:
    """Worker that runs a batch by comparing with every stored embedding."""

    def __init__(self, rows: Rows, entry: IndexEntry, scan: Scan | None = None) -> None:
        self._rows = rows
        self._entry = entry
        self._scan = scan or EmbeddingScan(rows, entry.metric)

    def __call__(self, batch: list[Work]) -> list[Hits]:
        k = max(work.k for work in batch)
        queries = prepare(joined(batch), self._entry.metric)
        masks, stored, live = masks_of(batch), len(self._rows.ids), batch[0].live
        rows, distances = self._scan(queries, k, masks)
        if live is not None:
            rows, distances = live.merged(queries, rows, distances, _allowed(masks))
        facts = None if masks is None else Facts.alike("exact", len(queries))
        found = RawHits(rows, distances, np.zeros(len(rows), np.int64), facts)
        return parted(batch, found, "cpu", stored + batch[0].live_rows, scanned=True)


def masks_of(batch: list[Work]) -> QueryMasks | None:
    """Return the masks of all queries of a batch, whose searches all have masks or all have none."""
    masks = [work.mask for work in batch for _ in range(work.size) if work.mask is not None]
    return QueryMasks.of(masks) if masks else None


def _allowed(masks: QueryMasks | None) -> list[Bools] | None:
    """Return the rows that each query may find, as boolean arrays."""
    return None if masks is None else [masks.masks[number].bools for number in masks.numbers.tolist()]


def _checked(found: RawHits, masks: QueryMasks, device: str) -> RawHits:
    """Drop rows that the masks do not allow, because a device may silently ignore a selector."""
    wrong = (found.rows >= 0) & ~masks.allow(found.rows)
    if not wrong.any():
        return found
    log.error("%s returned %d rows that the filter excludes; the server dropped them", device, np.count_nonzero(wrong))
    rows, distances = by_distance(np.where(wrong, -1, found.rows), np.where(wrong, np.float32(np.inf), found.distances))
    return found._replace(rows=rows, distances=distances)
