"""Recall audit: a small share of live queries is searched again, exactly, while the server is idle.

The recall measured when an index is built is that of stored images. Other queries may differ, so
only live queries show their recall. The audit never delays calls. It reads the stored embeddings
block by block, waits before each block until no call is in flight, and gives up if that takes too
long. Its memory is bounded: `_PENDING` queries, one block, and the last `_WINDOW` results of each
kind.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.vectors.exact import exact_search
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.columns.rows import Rows

log = logging.getLogger(__name__)

AuditEffort = Literal["default", "nprobe", "recall"]
Outcome = Literal["searched", "dropped"]

_PENDING = 32
_WINDOW = 1000
_NICENESS = 19
# Interval of checks for idleness, and the time limit of one audit.
_LOOK_S = 0.01
_IDLE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Audited:
    """Mean recall@k of the last `queries` audited queries of a space, by the effort that the caller requested.

    `filtered`: a filter limited the images. `expected` is the mean of the recall that the index
    expected; None if it was not measured at build time.
    """

    space: str
    effort: AuditEffort
    filtered: bool
    queries: int
    recall: float
    expected: float | None


@dataclass(frozen=True)
class Sample:
    """A live query (dim,) and the rows (k,) of its answer, numbered as in `Rows`.

    `mask` holds the allowed rows; None means all.
    """

    reader: CollectionReader
    numbered: Rows
    entry: IndexEntry
    query: Float32
    rows: Int64
    effort: AuditEffort
    expected: float
    mask: RowMask | None = None


class RecallAudit:
    """Takes samples of live searches and audits them in its own thread.

    `share` is the share of queries to audit. `idle` returns True if no call is in flight. `count`
    gets each outcome.
    """

    def __init__(
        self,
        share: float,
        idle: Callable[[], bool],
        count: Callable[[Outcome, int], None] = lambda outcome, queries: None,
        timeout_s: float = _IDLE_TIMEOUT_S,
        seed: int | None = None,
    ) -> None:
        self._share = share
        self._idle = idle
        self._count = count
        self._timeout_s = timeout_s
        self._random = random.Random(seed)  # noqa: S311  # nosec B311
        self._pending: deque[Sample] = deque()
        self._indexes: dict[str, _Index] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._working = False
        self._started = False
        self._exact: set[str] = set()

    def skip_exact(self, space: str) -> None:
        """Log, once for a space, that its index is exact."""
        if space not in self._exact:
            self._exact.add(space)
            log.info("every search of %s is exact: its recall is 1, and the audit has no results of it", space)

    def sample_query(self, queries: int) -> int | None:
        """Return the position of the query to audit among those of a call, usually None. At most one per call."""
        if self._random.random() >= self._share * queries:
            return None
        return self._random.randrange(queries)

    def offer(self, sample: Sample) -> None:
        """Queue a sample for the audit. It is dropped if too many are queued."""
        with self._changed:
            if len(self._pending) < _PENDING and not self._closed:
                self._pending.append(sample)
                self._start()
                self._changed.notify_all()
                return
        self._count("dropped", 1)

    def _start(self) -> None:
        """Start the thread with the first sample: a server without calls needs none."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name="audit", daemon=True).start()

    def results(self) -> list[Audited]:
        """Return the results so far, for each space and effort."""
        with self._changed:
            return [one for space, index in sorted(self._indexes.items()) for one in index.means(space)]

    def wait_until_done(self, timeout: float) -> bool:
        """Wait until all samples are audited or dropped. Return False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending and not self._working, timeout)

    def close(self) -> None:
        """End the thread after its current block, and drop queued samples."""
        with self._changed:
            self._closed = True
            self._pending.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        # Linux applies this to a single thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while batch := self._take_samples():
            try:
                found = self._searched(batch)
            except _OutOfTimeError:
                self._count("dropped", len(batch))
            except Exception:
                log.exception("%d queries could not be audited", len(batch))
                self._count("dropped", len(batch))
            else:
                self._note(batch, found)
                self._count("searched", len(batch))
            with self._changed:
                self._working = False
                self._changed.notify_all()

    def _take_samples(self) -> list[Sample]:
        """Wait for samples, and return those that one pass over the embeddings can audit; none if closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._pending)
            if self._closed:
                return []
            first = self._pending[0]
            batch = [one for one in self._pending if one.entry is first.entry]
            self._pending = deque(one for one in self._pending if one.entry is not first.entry)
            self._working = True
            return batch

    def _searched(self, batch: list[Sample]) -> Int64:
        queries = np.stack([one.query for one in batch])
        k = max(len(one.rows) for one in batch)
        entry = batch[0].entry
        live = batch[0].numbered.live
        masks = [live if one.mask is None else one.mask for one in batch]
        allowed = [None if mask is None else mask.bools for mask in masks]
        filtered = any(mask is not None for mask in masks)
        blocks = self._blocks(batch[0].numbered)
        rows, _ = exact_search(blocks, queries, k, entry.metric, allowed if filtered else None)
        return rows

    def _blocks(self, numbered: Rows) -> Iterator[tuple[Int64, Float32]]:
        until = time.monotonic() + self._timeout_s
        for block in numbered.blocks():
            while not (idle := self._idle()) and not self._over(until):
                time.sleep(_LOOK_S)
            if not idle or self._over(until):
                raise _OutOfTimeError
            yield block

    def _over(self, until: float) -> bool:
        return self._closed or time.monotonic() > until

    def _note(self, batch: list[Sample], exact: Int64) -> None:
        with self._changed:
            for sample, rows in zip(batch, exact, strict=True):
                space = sample.entry.space
                known = self._indexes.get(space)
                if known is None or known.replaced_by(sample):
                    known = self._indexes[space] = _Index.of(sample)
                if known.files == sample.entry.index_files:
                    known.add(sample, recall(sample.rows, rows))


class _OutOfTimeError(Exception):
    """The server was not idle for long enough, or the space is too large to be read in that time."""


class _Index:
    """Results for one index. Another index of the same space starts over."""

    def __init__(self, files: list[str], generation: int) -> None:
        self.files = files
        self._generation = generation
        # By effort, and by whether there was a filter.
        self._values: dict[tuple[AuditEffort, bool], deque[tuple[float, float]]] = {}

    @classmethod
    def of(cls, sample: Sample) -> _Index:
        return cls(sample.entry.index_files, sample.reader.manifest.generation)

    def replaced_by(self, sample: Sample) -> bool:
        """Return whether a sample is of a later index. Samples of an earlier one may still arrive for a while."""
        return sample.entry.index_files != self.files and sample.reader.manifest.generation > self._generation

    def add(self, sample: Sample, recall: float) -> None:
        kind = sample.effort, sample.mask is not None
        self._values.setdefault(kind, deque(maxlen=_WINDOW)).append((recall, sample.expected))

    def means(self, space: str) -> Iterator[Audited]:
        for (effort, filtered), values in sorted(self._values.items()):
            recalls, expected = np.array(values).T
            known = expected[expected > 0]
            mean = float(known.mean()) if len(known) else None
            yield Audited(space, effort, filtered, len(recalls), float(recalls.mean()), mean)


def recall(found: Int64, exact: Int64) -> float:
    """Return recall@k of one query: the share of the k nearest rows, or of all if there are fewer, that was found."""
    wanted = exact[: len(found)]
    wanted = wanted[wanted >= 0]
    return float(np.isin(wanted, found).mean()) if len(wanted) else 1.0
