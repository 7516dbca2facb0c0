"""Which inverted lists a query visits that may find only some of the rows, so that it finds as many of them as before.

Lists say how dense the matches are in them, coverage.py how a neighbourhood
lies in a query's nearest lists. Together they give the smallest neighbourhood
that can be expected to hold k matches, and how many lists hold the share of
those matches that an unfiltered search finds of its neighbors. Where matches
are rare near the query, the neighbourhood is large and its estimate rough, so
that a larger share is wanted. Lists without a match are skipped.
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

# Every list with a match is visited where that costs no more than this part of an unfiltered search.
_CHEAP = 0.25
# Matches for each neighbor that are too few for estimates.
_FEW = 4
# Dimensions that are compared in the time in which one row is looked up in a mask.
_LOOKUP_DIMS = 44
# Of what may be missed, at least this part may be missed where matches are rare near the query.
_STRICTEST = 0.25
# Up to so many lists it costs less to compare their centroids one by one than to put all lists in order.
_LONE = 64


@dataclass(frozen=True)
class _Ordered:
    """Lists of queries (q, width), nearest first, with their costs; the order of the first `certain` (q,) is."""

    lists: Int64
    costs: Float64
    certain: Int64

    def head(self, lines: Int64, width: int) -> _Ordered:
        """The first lists of some queries, of which all that were certain are."""
        return _Ordered(self.lists[lines, :width], self.costs[lines, :width], np.minimum(self.certain[lines], width))


@dataclass(frozen=True)
class _Visits:
    """How many of its nearest lists each query visits, and whether that is certain.

    `local` is the share of matches in them, `rarity` as in Probes.
    """

    counts: Int64
    local: Float64
    rarity: Float64
    settled: Bools


@dataclass(frozen=True)
class _Part:
    """The lists that one query visits, and their costs. `passed` counts these, and those without a match on the way."""

    lists: Int64
    costs: Float64
    local: float
    rarity: float
    passed: int
    kind: Strategy


class FilteredChooser:
    """Chooses lists of an inverted file for queries with masks.

    Without a coverage, which nobody measured, every list with a match is visited.
    """

    def __init__(self, chooser: ListChooser, membership: Membership, coverage: Coverage | None, dim: int) -> None:
        self._chooser = chooser
        self._membership = membership
        self._coverage = coverage
        self._sizes = membership.sizes
        self._rows = int(self._sizes.sum())
        self._lookup = min(1.0, _LOOKUP_DIMS / dim)

    def choose(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks) -> Probes:
        """The lists of each query (n, dim), nearest first, that needs min(wanted (n,), its matches) neighbors.

        As many as hold the share of those that `nprobe` lists hold of an unfiltered search's. `precise`: the scores
        do not depend on the batch either.
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
        """Whether a query visits every list that has a match; `by_mask` (masks, nlist) counts them."""
        if self._coverage is None or nprobe >= len(self._sizes):
            return np.ones(len(wanted), np.bool_)
        usual = self._rows * nprobe / len(self._sizes)
        cheap, few = [], []
        for mask, counts in zip(masks.masks, by_mask, strict=True):
            # The rows of the lists that have a match: each is looked up.
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
        """What each query visits, by its line."""
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
        """How many lists to look at first: powers of two that suffice if matches are anywhere."""
        sizes = np.log(np.clip(wanted * self._rows / totals, 1, self._rows))
        needed = np.empty(len(wanted))
        for k in set(wanted.tolist()):
            line = wanted == k
            needed[line] = np.interp(sizes[line], coverage.log_sizes, coverage.aim(k, nprobe).needed)
        widths = 2 ** np.ceil(np.log2(1.25 * np.maximum(needed, nprobe) + 8))
        first: Int64 = np.minimum(widths, len(self._sizes)).astype(np.int64)
        return first

    def _visits(
        self, ordered: _Ordered, k: int, nprobe: int, matches: Int64, totals: Int64, coverage: Coverage
    ) -> _Visits:
        """How many lists each query visits: the most that any of three rules wants."""
        lists, width = ordered.lists, ordered.lists.shape[1]
        there = np.where(lists >= 0, np.take_along_axis(matches, lists, axis=1), 0)
        passed, matching = np.cumsum(self._sizes[lists], axis=1), np.cumsum(there, axis=1)
        share, steps = coverage.aim(k, nprobe)
        # One: the lists hold the wanted share of the matches that the neighbourhood is expected to hold.
        rest = (totals - matching[:, -1]) / np.maximum(self._rows - passed[:, -1], 1)
        density = there / np.maximum(self._sizes[lists], 1)
        counts, rarity = _expected(density, rest, k, share, coverage, k * self._rows / totals)
        # Two: among as many rows as these lists have, so many are a neighbourhood that k matches are found in.
        around = np.clip(k * passed / np.maximum(matching, 1e-9), 1, self._rows)
        needed = np.interp(np.log(around), coverage.log_sizes, steps)
        enough = np.arange(1, width + 1) >= needed
        counts = np.maximum(counts, np.where(enough.any(axis=1), enough.argmax(axis=1) + 1, width + 1))
        # Three: as many matches as are wanted.
        counts = np.maximum(counts, (matching < np.minimum(k, totals)[:, None]).sum(axis=1) + 1)
        everything = width == len(self._sizes)
        settled = (counts <= ordered.certain) | everything
        counts = np.minimum(counts, width)
        last = (np.arange(len(counts)), counts - 1)
        return _Visits(counts, matching[last] / np.maximum(passed[last], 1), rarity, settled)

    def _ordered(self, queries: Float32, width: int) -> _Ordered:
        """The `width` nearest lists of each query."""
        chooser = self._chooser
        scores, lists = chooser.quantizer.search(queries, width)
        costs = (-scores if chooser.metric == "cosine" else scores).astype(np.float64)
        everything = width == len(self._sizes)
        if everything:
            lists = chooser.completed(lists)
        certain = np.full(len(queries), width, np.int64)
        if chooser.centroids is None:
            # A graph of centroids sees one query at a time.
            return _Ordered(lists, costs, certain)
        norms = np.sqrt(rowwise.squared_norms(queries))
        last = costs[:, -1].copy()
        error = 2 * score_error(queries.shape[1], norms, np.sqrt(np.maximum(last, 0)), chooser.metric)
        # Neighbors in the order whose costs float32 cannot tell apart are compared in float64.
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
            # Those that were not seen cost at least as much as the last one.
            certain = (costs < (last - error)[:, None]).sum(axis=1)
        return _Ordered(lists, costs, certain)

    def _costs_of(self, queries: Float32, lists: Int64) -> Float64:
        """The cost of each of some lists for each query, (n, lists)."""
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
        """The cost of list `lists[i]` for query `lines[i]`, in float64."""
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
    """How many lists hold the wanted share of a neighbourhood's matches, one more than there are where not enough do.

    `density` (n, width) is that of the matches in each query's nearest lists,
    `rest` (n,) in all others, `usual` (n,) the size of the neighbourhood if
    matches were anywhere. Also gives its size over the usual one.
    """
    width, sizes = density.shape[1], coverage.sizes
    added, beyond = coverage.added[:, :width], 1 - coverage.held[:, width - 1]
    # Each query on its own, so that it is the same in any batch.
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
    """The size at which each query's expected matches (n, sizes) reach k, between `sizes[first]` and the one before."""
    lines, before = np.arange(len(first)), np.maximum(first - 1, 0)
    low, high = np.log(np.maximum(expected[lines, before], 1e-9)), np.log(np.maximum(expected[lines, first], 1e-9))
    part = np.where(high > low, (np.log(k) - low) / np.where(high > low, high - low, 1), 1)
    size: Float64 = np.exp(np.log(sizes[before]) + np.clip(part, 0, 1) * np.log(sizes[first] / sizes[before]))
    return size
