"""Suggested numbers of clusters: peaks of the silhouette, the classes that a model sees, and communities.

Labels are not used. For communities see the module of that name. Classes are counted among the images for which a model
finds one class more probable than all others together. Their effective number is the inverse of Simpson's index, 1 /
sum(p^2) (Hill number of order 2: Hill, Diversity and evenness, 1973): rare classes hardly count. A second count uses
meanings instead of classes: the cut of ImageNet's tree with the minimum description length (Li, Abe: Generalizing case
frames using a thesaurus and the MDL principle, 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Int32
from lookalike_indexer.experiments.imagenet_tree import imagenet_tree

# The numbers of two suggestions differ by more than 30%.
_APART = 1.3
_MOST = 3
# From this probability a class is more probable than all others together.
_SURE = 0.5
# With fewer images of a clear class, the count is not meaningful.
_FEWEST_SURE = 20


@dataclass(frozen=True)
class Suggestion:
    """A number of clusters, and its source: "silhouette", "classes", "communities" or "meanings"."""

    k: int
    route: str


def suggestions(numbers: Sequence[int], silhouettes: Sequence[float], routes: dict[str, int]) -> list[Suggestion]:
    """Return at most three numbers, in the order to try them.

    The order is the highest silhouette, the routes `classes` and `communities`, the further local peaks of the
    silhouette, the highest first, and the route `meanings`. A number within 30% of an earlier one is left out. Routes
    that `routes` does not have are skipped.
    """
    ranked = [Suggestion(k, "silhouette") for k in peaks(numbers, silhouettes)]

    def by(*names: str) -> list[Suggestion]:
        return [Suggestion(routes[name], name) for name in names if name in routes]

    chosen: list[Suggestion] = []
    for each in [*ranked[:1], *by("classes", "communities"), *ranked[1:], *by("meanings")]:
        if not any(within(each.k, one.k) for one in chosen) and len(chosen) < _MOST:
            chosen.append(each)
    return chosen


def within(one: int, other: int) -> bool:
    """Return whether two numbers of clusters differ by at most 30% of the smaller one."""
    # In integers, so that 13 and 10 are within 30% regardless of the rounding of 1.3.
    return 10 * max(one, other) <= 13 * min(one, other)


def peaks(numbers: Sequence[int], values: Sequence[float]) -> list[int]:
    """Return the numbers with the highest value of all numbers within 30%, by descending value; ends count, NaN does
    not.

    If all values are equal, the first number is the only peak.
    """
    count, value = np.asarray(numbers, np.float64), np.nan_to_num(np.asarray(values, np.float64), nan=-np.inf)
    found = []
    for place in range(len(count)):
        near = np.maximum(count, count[place]) <= _APART * np.minimum(count, count[place])
        near |= np.abs(np.arange(len(count)) - place) <= 1
        if np.isfinite(value[place]) and value[place] == value[near].max() > value[near].min():
            found.append(place)
    found = found or [int(value.argmax())]
    found.sort(key=lambda place: (-value[place], count[place]))
    return [int(numbers[place]) for place in found]


def label_routes(classes: Int32, probabilities: Float32, names: dict[int, str]) -> dict[str, int]:
    """Return effective numbers of classes and of meanings, by route; meaningless ones are left out.

    `classes` int32 and `probabilities` float32, both (images,), are the first class of each image, -1 for none; `names`
    maps each class to its name.
    """
    sure = (classes >= 0) & (np.nan_to_num(probabilities) >= _SURE)
    if sure.sum() < _FEWEST_SURE:
        return {}
    found, counts = np.unique(classes[sure], return_counts=True)
    routes = {"classes": _effective(counts)}
    nodes = [imagenet_tree().find(names[index]) for index in found.tolist()]
    if min(nodes) >= 0:
        routes["meanings"] = _effective(np.array(tree_cut(dict(zip(nodes, counts.tolist(), strict=True)))))
    return {route: k for route, k in routes.items() if k >= 2}


def tree_cut(images: dict[int, int]) -> list[int]:
    """Return the number of images in each group of the tree's cut with the minimum description length.

    `images` are the counts of the leaves. Within a group all classes count as equally probable; each group costs half
    the binary logarithm of the number of images. Groups without images are left out.
    """
    meanings = imagenet_tree().meanings
    below = [images.get(meaning.node, 0) for meaning in meanings]
    children: list[list[int]] = [[] for _ in meanings]
    for meaning in reversed(meanings):
        if meaning.parent >= 0:
            below[meaning.parent] += below[meaning.node]
            children[meaning.parent].append(meaning.node)
    total = below[0]
    cost, cut = [0.0] * len(meanings), [[0]] * len(meanings)
    for meaning in reversed(meanings):
        node, count = meaning.node, below[meaning.node]
        whole = np.log2(total) / 2 - (count * np.log2(count / total / meaning.leaves) if count else 0)
        parts = sum(cost[child] for child in children[node])
        divided = count > 0 and children[node] and not images.get(node) and parts < whole
        cost[node] = parts if divided else whole
        cut[node] = [each for child in children[node] for each in cut[child]] if divided else [node]
    return [below[node] for node in cut[0] if below[node]]


def _effective(counts: npt.NDArray[np.int64]) -> int:
    shares = counts / counts.sum()
    return round(float(1 / np.square(shares).sum()))
