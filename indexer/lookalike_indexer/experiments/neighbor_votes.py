"""Out-of-sample probability of each label for each image, from its neighbors and from its predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64, Int32, Int64
from lookalike_indexer.experiments.view import Predicted, View

# Images that are processed at a time.
_BLOCK = 4096
# The total prior weight of all labels before any neighbor votes.
_PRIOR = 1.0


@dataclass(frozen=True)
class Votes:
    """Some labeled images by row (n,), and the probability of each label (n, labels); rows add up to 1."""

    rows: Int64
    probabilities: Float64


def votes(view: View, space: str, predicted: Predicted | None) -> Iterator[Votes]:
    """Yield the labeled images of a graph in blocks, with out-of-sample probabilities.

    Each neighbor votes for its label, the nearest with weight 1, the others by the ratio of the distances. With
    predictions, the labels of other images with the same predicted classes count as much.
    """
    priors = np.bincount(view.labels[view.labels >= 0], minlength=len(view.label_names)).astype(np.float64)
    priors /= priors.sum()
    by_class = None if predicted is None else _ByClass(view, predicted)
    for ids, neighbors, distances in view.reader.stream_graph(space):
        for start in range(0, len(ids), _BLOCK):
            block = slice(start, start + _BLOCK)
            rows = view.rows_of_ids(ids[block])
            labeled = view.labels[rows] >= 0
            rows = rows[labeled]
            if not len(rows):
                continue
            found = _by_neighbors(view, neighbors[block][labeled], distances[block][labeled], priors)
            if by_class is not None:
                found = (found + by_class(rows, priors)) / 2
            yield Votes(rows, found)


def _by_neighbors(view: View, neighbors: Int64, distances: npt.NDArray[np.float32], priors: Float64) -> Float64:
    there = neighbors >= 0
    rows = view.rows_of_ids(np.where(there, neighbors, view.ids[0]))
    labels = np.where(there, view.labels[rows], -1)
    # The nearest may be a copy, at distance 0.
    nearest = np.maximum(distances[:, :1], 1e-3).astype(np.float64)
    weights = np.where(labels >= 0, nearest / np.maximum(np.where(there, distances, np.inf), nearest), 0)
    counts = np.tile(_PRIOR * priors, (len(neighbors), 1))
    np.add.at(counts, (np.arange(len(neighbors))[:, None], labels), weights)
    probabilities: Float64 = counts / counts.sum(axis=1, keepdims=True)
    return probabilities


class _ByClass:
    """Counts of labels by predicted class; each image is counted without itself."""

    def __init__(self, view: View, predicted: Predicted) -> None:
        self._labels, self._predicted = view.labels, predicted
        classes = int(predicted.classes.max()) + 1
        self._counts = np.zeros((classes, len(view.label_names)))
        seen = (view.labels >= 0) & (predicted.classes[:, 0] >= 0)
        codes = view.labels[seen]
        for place in range(predicted.classes.shape[1]):
            np.add.at(self._counts, (predicted.classes[seen, place], codes), self._weights(seen)[:, place])

    def __call__(self, rows: Int64, priors: Float64) -> Float64:
        classes, labels = self._predicted.classes[rows], self._labels[rows]
        weights = self._weights(rows)
        out = np.tile(_PRIOR * priors, (len(rows), 1)) * 1e-3
        for place in range(classes.shape[1]):
            counts = self._counts[np.maximum(classes[:, place], 0)].copy()
            counts[np.arange(len(rows)), labels] -= weights[:, place]
            counts = np.maximum(counts, 0) + _PRIOR * priors
            out += weights[:, place : place + 1] * counts / counts.sum(axis=1, keepdims=True)
        probabilities: Float64 = out / out.sum(axis=1, keepdims=True)
        return probabilities

    def _weights(self, rows: Int64 | npt.NDArray[np.bool_]) -> Float64:
        seen = self._predicted.classes[rows] >= 0
        return np.where(seen, np.nan_to_num(self._predicted.probabilities[rows]), 0).astype(np.float64)


def label_probabilities(labels: Int32, found: Votes) -> tuple[Float64, Int64, Float64]:
    """Return the probability of the given label, the most probable other label and its probability, all (n,)."""
    places = np.arange(len(found.rows))
    own = found.probabilities[places, labels[found.rows]]
    others = found.probabilities.copy()
    others[places, labels[found.rows]] = -1
    best = others.argmax(axis=1)
    return own, best, others[places, best]
