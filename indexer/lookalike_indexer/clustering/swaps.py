"""Swaps: two groups are merged and a third is split, if that improves k-means.

Moves of single images (`exchange.py`) never carry a centroid to another part of the space. A simultaneous merge and
split does, as in searches by swaps of centroids (Franti: Efficiency of random swap clustering, 2018; Fritzke: The
k-means-u* algorithm, 2017). Both are measured by groups here, because in many dimensions a single image is a poor
centroid.
"""

from __future__ import annotations

import numpy as np

from lookalike_indexer.arrays import Float64, Int64
from lookalike_indexer.clustering.exchange import NEGLIGIBLE, Exchange, Work, value
from lookalike_indexer.numerics.grid import on_grid, squared_norms

# The number of swaps tried before a search ends, most promising first, and of the merges and splits that they combine.
_TRIED = 8
_CONSIDERED = 20
_POWER_ITERATIONS = 5
_HALVING_ITERATIONS = 10
# The cost of a division, in multiplications of a large product.
_DIVISION = 2_000_000

# The rows that leave a group when it is divided, and the gain.
_Split = tuple[Int64, float]


def swapped(groups: Exchange, work: Work) -> Exchange:
    """Return the groups after swaps, each followed by moves, until the most promising swaps gain nothing."""
    splits: dict[int, _Split] = {}
    while work.left > 0:
        for group in range(len(groups.sizes)):
            if group not in splits:
                splits[group] = _divided(groups, group, work)
        better = _first_better(groups, splits, work)
        if better is None:
            return groups
        moved = groups.clusters != better.clusters
        for group in np.union1d(groups.clusters[moved], better.clusters[moved]).tolist():
            splits.pop(group, None)
        groups = better
    return groups


def _first_better(groups: Exchange, splits: dict[int, _Split], work: Work) -> Exchange | None:
    for merged, into, divided in _candidates(groups, splits):
        found = groups.regrouped({merged: into}, splits[divided][0])
        found.settle()
        if found.objective > groups.objective * (1 + NEGLIGIBLE) + NEGLIGIBLE:
            return found
        if work.left <= 0:
            break
    return None


def _candidates(groups: Exchange, splits: dict[int, _Split]) -> list[tuple[int, int, int]]:
    """Return the most promising swaps: the group that ends, the one that takes it in, and the one that is divided."""
    costs = _merge_costs(groups)
    first, second = np.triu_indices(len(costs), 1)
    cheapest = np.argsort(costs[first, second], kind="stable")[:_CONSIDERED]
    divided = sorted(splits, key=lambda group: -splits[group][1])[:_CONSIDERED]
    found = [
        (splits[group][1] - float(costs[first[pair], second[pair]]), int(second[pair]), int(first[pair]), group)
        for pair in cheapest.tolist()
        for group in divided
        if group not in (first[pair], second[pair]) and splits[group][1] > 0
    ]
    found.sort(key=lambda each: -each[0])
    return [each[1:] for each in found[:_TRIED]]


def _merge_costs(groups: Exchange) -> Float64:
    """Return the loss of the objective when two groups are merged: (k, k)."""
    k = len(groups.sizes)
    costs = np.empty((k, k))
    for group in range(k):
        squares = squared_norms(groups.sums + groups.sums[group])
        together = value(squares, groups.sizes + groups.sizes[group], groups.spherical)
        costs[group] = groups.values + groups.values[group] - together
    return costs


def _divided(groups: Exchange, group: int, work: Work) -> _Split:
    """Split a group by its first principal direction (Boley: PDDP, 1998); return the rows of one half, and the gain."""
    rows = np.flatnonzero(groups.clusters == group)
    if len(rows) < 2:
        return rows[:0], 0.0
    points = groups.points[rows]
    work.left -= float(points.size * (2 * _POWER_ITERATIONS + _HALVING_ITERATIONS) + _DIVISION)
    mean = on_grid(points.mean(axis=0))
    apart = points - mean
    direction = apart[int(squared_norms(apart).argmax())]
    for _ in range(_POWER_ITERATIONS):
        # einsum adds in the same order for any number of threads.
        turned = np.einsum("i,ij->j", np.einsum("ij,j->i", apart, direction), apart)
        length = float(np.sqrt(np.square(turned).sum()))
        if length == 0:
            return rows[:0], 0.0
        direction = on_grid(turned / length)
    side = np.einsum("ij,j->i", apart, direction) > 0
    for _ in range(_HALVING_ITERATIONS):
        if side.all() or not side.any():
            return rows[:0], 0.0
        one, other = apart[side].mean(axis=0), apart[~side].mean(axis=0)
        again = np.einsum("ij,j->i", apart, one - other) > (np.square(one).sum() - np.square(other).sum()) / 2
        if np.array_equal(again, side):
            break
        side = again
    sums = np.stack([points[side].sum(axis=0), points[~side].sum(axis=0)])
    sizes = np.array([side.sum(), (~side).sum()])
    gain = float(value(squared_norms(sums), sizes, groups.spherical).sum() - groups.values[group])
    return rows[side], gain
