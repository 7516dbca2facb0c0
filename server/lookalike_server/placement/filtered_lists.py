"""Choice of inverted lists for queries with masks, so that recall is as without a mask.

The lists' matches give the density of matches in each list. coverage.py estimates how a
neighborhood lies in the query's nearest lists. From both follows the smallest neighborhood that is
expected to hold k matches. The query visits as many lists as hold the share of those matches that
an unfiltered search finds of its neighbors. If matches are rare near the query, the neighborhood is
large and its estimate is rough, so a larger share is required. Lists without a match are skipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Float64, Int64
from lookalike_indexer.vectors import pairs, rowwise
from lookalike_indexer.vectors.rounding import score_error
from lookalike_server.placement.coverage import Coverage
from lookalike_server.placement.facts import Facts, Strategy
from lookalike_server.placement.lists import ListChooser, Membership, Probes
from lookalike_server.placement.masks import QueryMasks

# Every list with a match is visited if that costs at most this share of an unfiltered search.
_CHEAP = 0.25
# With fewer matches per wanted neighbor than this, estimates are unreliable.
_FEW = 4
# Looking up one row in a mask takes as long as comparing this many dimensions.
_LOOKUP_DIMS = 44
# If matches are rare near the query, the tolerated share of missed matches shrinks to at least this fraction.
_STRICTEST = 0.25
# Up to this many lists, comparing their centroids one by one is cheaper than ordering all lists.
_LONE = 64


@dataclass(frozen=True)
class _Ordered:
    """Lists of queries (q, width), nearest first, with their costs.

    Only the order of the first `certain` (q,) is certain.
    """

    lists: Int64
    costs: Float64
    certain: Int64

    def head(self, lines: Int64, width: int) -> _Ordered:
        """Return the first lists of some queries; `certain` shrinks with the width."""
        return _Ordered(self.lists[lines, :width], self.costs[lines, :width], np.minimum(self.certain[lines], width))


@dataclass(frozen=True)
class _Visits:
    """Number of nearest lists that each query visits, and whether that is certain.

    `local` is the share of matches in them; `rarity` is as in Probes.
    """

    counts: Int64
    local: Float64
    rarity: Float64
    settled: Bools


@dataclass(frozen=True)
class _Part:
    """Lists that one query visits, and their costs. `passed` also counts the skipped lists without a match."""

    lists: Int64
    costs: Float64
    local: float
    rarity: float
    passed: int
    kind: Strategy


class FilteredChooser:
    """Chooser of inverted lists for queries with masks.

    Without measured coverage, every list with a match is visited.
    """

    def __init__(self, chooser: ListChooser, membership: Membership, coverage: Coverage | None, dim: int) -> None:
        self._chooser = chooser
        self._membership = membership
        self._coverage = coverage
        self._sizes = membership.sizes
        self._rows = int(self._sizes.sum())
        self._lookup = min(1.0, _LOOKUP_DIMS / dim)

    def choose(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks) -> Probes:
        """Return the lists to visit, nearest first, for queries (n, dim) that each need min(wanted, matches) neighbors.

        The lists hold the same share of those neighbors as `nprobe` lists hold in an unfiltered
        search. `precise`: the scores must not depend on the batch either.
        """
        known = [self._membership.matches(mask) for mask in masks.masks]
        by_mask = np.stack([counts for counts, _ in known])
        cached = np.array([cached for _, cached in known])[masks.numbers]
        everywhere = self._everywhere(masks, by_mask, nprobe, wanted)
        matches = by_mask[masks.numbers]
        parts: dict[int, _Part] = {}
        for _, lines in masks.at(np.flatnonzero(everywhere)).groups():
            lines = np.flatnonzero(everywhere)[lines]
            lists = np.flatnonzero(matches[lines[0]])
            costs = self._costs_of(queries[lines], lists)
            kind: Strategy = "matching-lists" if len(lists) else "none"
            for line, theirs in zip(lines.tolist(), costs, strict=True):
                order = np.lexsort((lists, theirs))
                parts[line] = _Part(lists[order], theirs[order], math.nan, 1, len(self._sizes), kind)
        rest = np.flatnonzero(~everywhere)
        if len(rest) and self._coverage is not None:
            ranked = self._ranked(queries[rest], nprobe, wanted[rest], matches[rest], self._coverage)
            parts |= {int(rest[line]): part for line, part in ranked.items()}
        return self._probes(queries, [parts[line] for line in range(len(queries))], cached, precise)

    def _everywhere(self, masks: QueryMasks, by_mask: Int64, nprobe: int, wanted: Int64) -> Bools:
        """Return whether each query visits every list that has a match; `by_mask` (masks, nlist) counts matches."""
        if self._coverage is None or nprobe >= len(self._sizes):
            return np.ones(len(wanted), np.bool_)
        usual = self._rows * nprobe / len(self._sizes)
        cheap, few = [], []
        for mask, counts in zip(masks.masks, by_mask, strict=True):
            # Rows of the lists that have a match: each of them is looked up.
            derived, _ = mask.derived(self, partial(self._looked_up, counts))
            cheap.append(mask.count + self._lookup * int(derived[0]) <= _CHEAP * usual)
            few.append(mask.count)
        everywhere: Bools = np.array(cheap)[masks.numbers] | (np.array(few)[masks.numbers] <= _FEW * wanted)
        return everywhere

    def _looked_up(self, counts: Int64) -> Int64:
        return np.array([self._sizes[counts > 0].sum()])

    def _ranked(
        self, queries: Float32, nprobe: int, wanted: Int64, matches: Int64, coverage: Coverage
    ) -> dict[int, _Part]:
        """Return what each query visits, by its number."""
        found: dict[int, _Part] = {}
        nlist = len(self._sizes)
        totals = matches.sum(axis=1)
        widths = self._first_widths(nprobe, wanted, totals, coverage)
        pending = np.arange(len(queries))
        while len(pending):
            ordered = self._ordered(queries[pending], int(widths[pending].max()))
            later = []
            for width, k in {(int(widths[line]), int(wanted[line])) for line in pending}:
                here = np.flatnonzero((widths[pending] == width) & (wanted[pending] == k))
                lines = pending[here]
                head = ordered.head(here, width)
                visits = self._visits(head, k, nprobe, matches[lines], totals[lines], coverage)
                for place, line in enumerate(lines.tolist()):
                    if not visits.settled[place]:
                        widths[line] = min(4 * width, nlist)
                        later.append(line)
                        continue
                    count = int(visits.counts[place])
                    lists, costs = head.lists[place, :count], head.costs[place, :count]
                    there = matches[line, lists] > 0
                    local, rarity = float(visits.local[place]), float(visits.rarity[place])
                    found[line] = _Part(lists[there], costs[there], local, rarity, count, "lists")
            pending = np.array(later, np.int64)
        return found

    def _first_widths(self, nprobe: int, wanted: Int64, totals: Int64, coverage: Coverage) -> Int64:
        """Return how many lists to rank first: a power of two that suffices if matches are spread evenly."""
        sizes = np.log(np.clip(wanted * self._rows / totals, 1, self._rows))
        needed = np.empty(len(wanted))
        for k in set(wanted.tolist()):
            line = wanted == k
            needed[line] = np.interp(sizes[line], coverage.log_sizes, coverage.expected(k, nprobe).needed)
        widths = 2 ** np.ceil(np.log2(1.25 * np.maximum(needed, nprobe) + 8))
        first: Int64 = np.minimum(widths, len(self._sizes)).astype(np.int64)
        return first

    def _visits(
        self, ordered: _Ordered, k: int, nprobe: int, matches: Int64, totals: Int64, coverage: Coverage
    ) -> _Visits:
        """Return how many lists each query visits: the maximum of three rules."""
        lists, width = ordered.lists, ordered.lists.shape[1]
        there = np.where(lists >= 0, np.take_along_axis(matches, lists, axis=1), 0)
        passed, matching = np.cumsum(self._sizes[lists], axis=1), np.cumsum(there, axis=1)
        share, steps = coverage.expected(k, nprobe)
        # Rule 1: the lists hold the wanted share of the matches that the neighborhood is expected to hold.
        rest = (totals - matching[:, -1]) / np.maximum(self._rows - passed[:, -1], 1)
        density = there / np.maximum(self._sizes[lists], 1)
        counts, rarity = _expected(density, rest, k, share, coverage, k * self._rows / totals)
        # Rule 2: at the density of these lists, estimate the neighborhood that holds k matches, and visit the lists for
        # it.
        around = np.clip(k * passed / np.maximum(matching, 1e-9), 1, self._rows)
        needed = np.interp(np.log(around), coverage.log_sizes, steps)
        enough = np.arange(1, width + 1) >= needed
        counts = np.maximum(counts, np.where(enough.any(axis=1), enough.argmax(axis=1) + 1, width + 1))
        # Rule 3: the lists hold as many matches as are wanted.
        counts = np.maximum(counts, (matching < np.minimum(k, totals)[:, None]).sum(axis=1) + 1)
        everything = width == len(self._sizes)
        settled = (counts <= ordered.certain) | everything
        counts = np.minimum(counts, width)
        last = (np.arange(len(counts)), counts - 1)
        return _Visits(counts, matching[last] / np.maximum(passed[last], 1), rarity, settled)

    def _ordered(self, queries: Float32, width: int) -> _Ordered:
        """Return the `width` nearest lists of each query."""
        chooser = self._chooser
        scores, lists = chooser.quantizer.search(queries, width)
        costs = (-scores if chooser.metric == "cosine" else scores).astype(np.float64)
        everything = width == len(self._sizes)
        if everything:
            lists = chooser.completed(lists)
        certain = np.full(len(queries), width, np.int64)
        if chooser.centroids is None:
            # A graph of centroids searches one query at a time, so its result does not depend on the batch.
            return _Ordered(lists, costs, certain)
        norms = np.sqrt(rowwise.squared_norms(queries))
        last = costs[:, -1].copy()
        error = 2 * score_error(queries.shape[1], norms, np.sqrt(np.maximum(last, 0)), chooser.metric)
        # Adjacent lists whose costs float32 cannot distinguish are compared in float64.
        close = np.diff(costs, axis=1) <= 2 * error[:, None]
        unsure = np.zeros(lists.shape, np.bool_)
        unsure[:, 1:] |= close
        unsure[:, :-1] |= close
        lines, places = np.nonzero(unsure & (lists >= 0))
        if len(lines):
            costs[lines, places] = self._true_costs(queries, lines, lists[lines, places])
            order = np.lexsort((lists, costs), axis=1)
            lists, costs = np.take_along_axis(lists, order, axis=1), np.take_along_axis(costs, order, axis=1)
        if not everything:
            # Unseen lists cost at least as much as the last one.
            certain = (costs < (last - error)[:, None]).sum(axis=1)
        return _Ordered(lists, costs, certain)

    def _costs_of(self, queries: Float32, lists: Int64) -> Float64:
        """Return the cost of each of some lists for each query, (n, lists)."""
        if not len(lists):
            return np.empty((len(queries), 0))
        if self._chooser.centroids is not None and len(lists) <= _LONE:
            lines = np.repeat(np.arange(len(queries)), len(lists))
            return self._true_costs(queries, lines, np.tile(lists, len(queries))).reshape(len(queries), -1)
        everything = self._ordered(queries, len(self._sizes))
        costs = np.empty((len(queries), len(self._sizes)))
        np.put_along_axis(costs, everything.lists, everything.costs, axis=1)
        return costs[:, lists]

    def _true_costs(self, queries: Float32, lines: Int64, lists: Int64) -> Float64:
        """Return the cost of list `lists[i]` for query `lines[i]`, in float64."""
        chooser: Any = self._chooser
        return pairs.costs(queries, lines, chooser.centroids, lists, chooser.metric)

    def _probes(self, queries: Float32, parts: list[_Part], cached: Bools, precise: bool) -> Probes:
        counts = np.array([len(part.lists) for part in parts], np.int64)
        most = max(1, int(counts.max(initial=0)))
        lists, costs = np.full((len(parts), most), -1, np.int64), np.full((len(parts), most), np.inf)
        for line, part in enumerate(parts):
            lists[line, : len(part.lists)], costs[line, : len(part.lists)] = part.lists, part.costs
        if precise and self._chooser.centroids is not None:
            lines, places = np.nonzero(lists >= 0)
            costs[lines, places] = self._true_costs(queries, lines, lists[lines, places])
        scores = (-costs if self._chooser.metric == "cosine" else costs).astype(np.float32)
        skipped = np.array([part.passed for part in parts], np.int64) - counts
        local = np.array([part.local for part in parts])
        facts = Facts([part.kind for part in parts], counts, skipped, local, cached)
        return Probes(lists, scores, counts, facts, np.array([part.rarity for part in parts]))


def _expected(
    density: Float64, rest: Float64, k: int, share: float, coverage: Coverage, usual: Float64
) -> tuple[Int64, Float64]:
    """Return how many lists hold the wanted share of a neighborhood's matches, and the neighborhood's relative size.

    The count is one more than the width if all lists do not suffice. `density` (n, width) is the
    density of matches in each query's nearest lists, `rest` (n,) that in all other lists. `usual`
    (n,) is the size of the neighborhood if matches were spread evenly; the returned size is
    relative to it.
    """
    width, sizes = density.shape[1], coverage.sizes
    added, beyond = coverage.added[:, :width], 1 - coverage.shares[:, width - 1]
    # einsum computes each query on its own, so that the result is the same in any batch.
    expected = sizes * (np.einsum("nw,gw->ng", density, added) + rest[:, None] * beyond)
    enough = expected >= k
    first = np.where(enough.any(axis=1), enough.argmax(axis=1), len(sizes) - 1)
    weights = density * added[first]
    reached = np.cumsum(weights, axis=1) / np.maximum(weights.sum(axis=1) + rest * beyond[first], 1e-12)[:, None]
    rarity = np.maximum(_crossed(expected, sizes, first, k) / usual, 1e-9)
    missed = (1 - share) * np.clip(1 / rarity, _STRICTEST, 1)
    counts: Int64 = (reached < (1 - missed)[:, None] - 1e-9).sum(axis=1) + 1
    return counts, rarity


def _crossed(expected: Float64, sizes: Float64, first: Int64, k: int) -> Float64:
    """Return the size at which each query's expected matches (n, sizes) reach k.

    It lies between `sizes[first]` and the size before.
    """
    lines, before = np.arange(len(first)), np.maximum(first - 1, 0)
    low, high = np.log(np.maximum(expected[lines, before], 1e-9)), np.log(np.maximum(expected[lines, first], 1e-9))
    part = np.where(high > low, (np.log(k) - low) / np.where(high > low, high - low, 1), 1)
    size: Float64 = np.exp(np.log(sizes[before]) + np.clip(part, 0, 1) * np.log(sizes[first] / sizes[before]))
    return size
