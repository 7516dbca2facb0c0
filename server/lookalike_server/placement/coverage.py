"""Share of a query's neighborhood that lies in its nearest inverted lists, from measurements at build time.

A recall ladder says which share of the k nearest images the first 1, 2, 4, ... lists hold, for some
values of k. For k = all images, each list holds its own part. Between these points the share is
interpolated: linear in the logarithms of k and of the number of lists, and in the logit of the
share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lookalike_indexer.arrays import Float64
from lookalike_indexer.collection.manifest import RecallPoint

# Ratio of successive neighborhood sizes; finer than the error of their estimates.
_GRID_STEP = 1.4
# Keeps the logits of 0 and 1 finite.
_EDGE = 1e-4
# Largest number of float64 elements in the table: 64 MiB.
_MOST = 1 << 23
# Largest number of cached pairs of k and nprobe.
_CACHED_PAIRS = 1024


class ExpectedShare(NamedTuple):
    """Share of its neighbors that a search finds, and for each of `sizes` how many lists hold that share."""

    share: float
    needed: Float64


class Coverage:
    """`shares[g, n]` is the share of the `sizes[g]` nearest images that the n + 1 nearest lists hold."""

    def __init__(self, points: Sequence[RecallPoint], nlist: int, rows: int) -> None:
        """`points` are the recall ladders of an index of `rows` images in `nlist` lists; at least one is needed."""
        measured = sorted({point.k for point in points if point.k < rows})
        ladders = {k: _ladder(points, k) for k in measured}
        steps = np.unique([1, nlist, *(step for ladder in ladders.values() for step in ladder[0])])
        steps = steps[steps <= nlist].astype(np.float64)
        known = np.array([*(_share(ladders[k], steps) for k in measured), steps / nlist])
        count = min(2 + math.ceil(math.log(max(2, rows), _GRID_STEP)), max(4, _MOST // nlist))
        self.sizes: Float64 = np.geomspace(1, max(2, rows), count)
        self.log_sizes: Float64 = np.log(self.sizes)
        logits = np.log((known + _EDGE) / (1 - known + _EDGE))
        ks = np.log([*measured, rows])
        odds = np.exp([np.interp(self.log_sizes, ks, column) for column in logits.T]).T
        shares = np.clip((odds * (1 + _EDGE) - _EDGE) / (1 + odds), 0, 1)
        shares[:, -1] = 1
        lists = np.log2(np.arange(1, nlist + 1))
        interpolated = np.array([np.interp(lists, np.log2(steps), line) for line in shares])
        self.shares: Float64 = np.maximum.accumulate(interpolated, axis=1)
        self._expected: dict[tuple[int, int], ExpectedShare] = {}
        # Additional share of each list over those before it.
        self.added: Float64 = np.diff(self.shares, axis=1, prepend=0)

    def expected(self, k: int, nprobe: int) -> ExpectedShare:
        """Return the share of k neighbors that `nprobe` lists find. Cached, because callers use few pairs."""
        known = self._expected.get((k, nprobe))
        if known is None:
            share = self.of_search(k, nprobe)
            known = ExpectedShare(share, self.needed(share))
            if len(self._expected) < _CACHED_PAIRS:
                self._expected[k, nprobe] = known
        return known

    def of_search(self, k: int, nprobe: int) -> float:
        """Return the share of the k nearest images that `nprobe` lists hold."""
        column = self.shares[:, min(nprobe, self.shares.shape[1]) - 1]
        return float(np.interp(math.log(k), self.log_sizes, column))

    def needed(self, share: float) -> Float64:
        """Return, for each of `sizes`, how many lists hold this share."""
        lists: Float64 = (self.shares < share - 1e-9).sum(axis=1) + 1.0
        return lists


def _ladder(points: Sequence[RecallPoint], k: int) -> tuple[Float64, Float64]:
    """Return the steps of a ladder and its recalls, divided by the best recall.

    What no step finds is lost in the codes.
    """
    steps = sorted((point.nprobe, point.recall) for point in points if point.k == k and point.nprobe > 0)
    recalls = np.maximum.accumulate(np.array([recall for _, recall in steps]))
    return np.array([step for step, _ in steps], np.float64), recalls / max(recalls[-1], 1e-9)


def _share(ladder: tuple[Float64, Float64], steps: Float64) -> Float64:
    return np.interp(np.log2(steps), np.log2(ladder[0]), ladder[1])


def coverage_of(points: Sequence[RecallPoint], nlist: int, rows: int) -> Coverage | None:
    """Return the coverage of an index, or None if no ladder was measured."""
    useful = [point for point in points if point.nprobe > 0 and point.recall > 0]
    return Coverage(useful, nlist, rows) if useful and nlist and rows > 1 else None
