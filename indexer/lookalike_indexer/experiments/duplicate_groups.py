"""Groups of near-duplicates from their pairs, and the image of each group to keep."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.experiments.near_duplicates import Pairs


@dataclass(frozen=True)
class Groups:
    """The images of groups of at least two: `rows` (n,), with the image to keep first in each, largest group first.

    `group` (n,) counts from 0, `sizes` has the number of images of each group. `keep` (n,) marks the images to keep,
    and `by_hash` (n,) those that only a perceptual hash joins to their group. `pairs` are those within a group.
    """

    rows: Int64
    group: Int64
    sizes: Int64
    keep: Bools
    by_hash: Bools
    pairs: Pairs


def grouped(pairs: Pairs, areas: Int64) -> Groups:
    """Group images by pairs; `areas` (images,) are the pixels of each image.

    Pairs by distance or equal bytes form connected components. The image to keep of each is the largest one, and the
    first among equals. A pair by hash joins two components only if it contains a kept image: hashes do not form chains.
    """
    rows = np.unique(np.concatenate([pairs.left, pairs.right]))
    left, right = np.searchsorted(rows, pairs.left), np.searchsorted(rows, pairs.right)
    near = ~pairs.by_hash
    component = _components(left[near], right[near], len(rows))
    best = np.lexsort((rows, -areas[rows]))
    keepers = _first_of_each(component, best)
    joined = _joined(component, keepers, left[~near], right[~near], best)
    group, by_hash = joined[component], joined[component] != component
    within = group[left] == group[right]
    sizes = np.bincount(group, minlength=len(rows))
    firsts = np.full(len(rows), np.iinfo(np.int64).max)
    np.minimum.at(firsts, group, rows)
    # The largest group first; among equals the one of the first image.
    by_size = np.lexsort((firsts, -sizes))
    rank = np.empty(len(rows), np.int64)
    rank[by_size] = np.arange(len(rows))
    order = np.lexsort((rows, -areas[rows], rank[group]))
    order = order[sizes[group[order]] > 1]
    groups = rank[group][order]
    keep = np.r_[True, groups[1:] != groups[:-1]] if len(order) else np.empty(0, np.bool_)
    ordered = sizes[by_size]
    return Groups(rows[order], groups, ordered[ordered > 1], keep, by_hash[order], pairs.select(within))


def _components(left: Int64, right: Int64, count: int) -> Int64:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not count:
        return np.empty(0, np.int64)
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    components: Int64 = connected_components(edges, directed=False)[1].astype(np.int64)
    return components


def _first_of_each(component: Int64, order: Int64) -> Int64:
    """Return the first member of each component in an order of all members."""
    keepers = np.empty(component.max(initial=-1) + 1, np.int64)
    keepers[component[order[::-1]]] = order[::-1]
    return keepers


def _joined(component: Int64, keepers: Int64, left: Int64, right: Int64, best: Int64) -> Int64:
    """Return the component that each one is joined to by hash, or itself; the best images to keep join first."""
    near: dict[int, set[int]] = defaultdict(set)
    for one, other in ((left, right), (right, left)):
        at_keeper = (keepers[component[one]] == one) & (component[one] != component[other])
        for taker, taken in zip(component[one[at_keeper]].tolist(), component[other[at_keeper]].tolist(), strict=True):
            near[taker].add(taken)
    place = np.empty(len(best), np.int64)
    place[best] = np.arange(len(best))
    joined = np.arange(len(keepers))
    free = np.ones(len(keepers), np.bool_)
    for taker in sorted(near, key=lambda each: place[keepers[each]]):
        if free[taker]:
            taken = [other for other in near[taker] if free[other]]
            joined[taken] = taker
            free[[taker, *taken]] = False
    return joined
