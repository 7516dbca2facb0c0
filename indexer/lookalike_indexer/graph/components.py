"""Finds the nearest others by principal components: all pairs by these, then the candidates by the stored embeddings.

The embeddings of photographs have far fewer directions than dimensions, so that nearly all of the nearest are among
the nearest by some tens of components. How many components and candidates that takes is found out on a sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.graph.groups import Group
from lookalike_indexer.graph.lists import Neighbors, nearest
from lookalike_indexer.graph.near_pairs import Rows, nearest_pairs, rounded
from lookalike_indexer.graph.rescoring import rescored
from lookalike_indexer.indexing.projection import projectable, train_components
from lookalike_indexer.progress import Bar, Progress
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows

COMPONENTS = (64, 96, 128, 192, 256)
_TRAINED_ON, _SEED = 4096, 99
# The share of the nearest of a sample that has to be among the candidates; what is measured on other images is printed.
_WANTED, _SAMPLE = 0.97, 96
# Candidates for each neighbor that is wanted.
_DEPTHS = (1.25, 1.5, 2, 3, 4, 6)
# Seconds to compare a pair by a component, to look at its score, and to compare a dimension of a candidate.
_PRODUCT, _LOOK, _RESCORE = 1.1e-11, 2e-9, 1.9e-9


class ComponentSearch:
    """Has candidates (n, depth) for all rows of a space, deleted ones included, and compares them in full."""

    def __init__(
        self, reader: CollectionReader, space: str, metric: Metric, candidates: Rows, choice: Choice | None = None
    ) -> None:
        self._reader, self._space, self._metric = reader.whole, space, metric
        self._candidates, self.choice = candidates, choice
        self._ids = self._reader.ids(space)
        self._live = reader.live(self._ids)

    def __call__(self, group: Group, k: int, bar: Bar) -> Neighbors:
        candidates = self._candidates[np.searchsorted(self._ids, group.ids)].astype(np.int64)
        queries = prepare(group.vectors, self._metric)
        distances = rescored(self._reader, self._space, queries, candidates, self._metric, bar)
        ids = np.where((candidates < 0) | ~self._live[candidates], -1, self._ids[candidates])
        return nearest(ids, distances, group.ids, k)


@dataclass(frozen=True)
class Choice:
    """The components that are compared, and the candidates of each image."""

    components: int
    depth: int


def component_search(
    reader: CollectionReader, space: str, k: int, metric: Metric, progress: Progress
) -> ComponentSearch:
    """Find candidates for all images of a space. IndexerError: an embedding that is not finite.

    Memory: some hundred bytes for each image, and the components of each.
    """
    whole = reader.whole
    rows = whole.space(space)[1].rows
    projected, sample = _projected(whole, space, metric, progress)
    choice = _choice(whole, space, k, metric, projected, sample)
    dead = 1 - float(reader.live(whole.ids(space)).mean())
    depth = min(rows - 1, math.ceil(choice.depth / max(1 - dead, 0.1)))
    vectors = rounded(np.ascontiguousarray(projected[:, : choice.components]))
    del projected
    with progress.stage(f"compare {choice.components} components of {space}", rows, "image") as bar:
        return ComponentSearch(reader, space, metric, nearest_pairs(vectors, depth, bar), choice)


def _projected(reader: CollectionReader, space: str, metric: Metric, progress: Progress) -> tuple[Float32, Int64]:
    """The components of all rows, (rows, components), and the rows of the sample that chooses among them."""
    rows, dim = reader.space(space)[1].rows, reader.space(space)[1].dim
    sample = choose_rows(rows, _TRAINED_ON, _SEED)
    trained = prepare(reader.vectors(space, np.sort(sample)), metric)
    _refuse_infinite(trained)
    components = train_components(trained, min(dim, len(trained), COMPONENTS[-1])).T
    out = np.empty((rows, components.shape[1]), np.float32)
    start = 0
    with progress.stage(f"components of {space}", rows, "image") as bar:
        for ids, vectors in reader.stream_ahead(space):
            prepared = prepare(vectors, metric)
            _refuse_infinite(prepared)
            out[start : start + len(ids)] = projectable(prepared) @ components
            start += len(ids)
            bar.advance(len(ids))
    return out, np.sort(sample[:_SAMPLE])


def _choice(reader: CollectionReader, space: str, k: int, metric: Metric, projected: Float32, sample: Int64) -> Choice:
    """The cheapest components and candidates that hold enough of the nearest of a sample; the most where none do."""
    rows, dim = reader.space(space)[1].rows, reader.space(space)[1].dim
    wanted = min(k, rows - 1)
    queries = reader.vectors(space, sample)
    place = dict(zip(reader.ids(space).tolist(), range(rows), strict=True))
    found, _ = exact_search(reader.stream_ahead(space), queries, wanted + 1, metric)
    ranks: dict[int, Int64] = {}
    counts = [count for count in COMPONENTS if count < projected.shape[1]] + [projected.shape[1]]
    truth = np.array([[place[one] for one in row] for row in found.tolist()])
    for count in counts:
        some = np.ascontiguousarray(projected[:, :count])
        ranks[count] = _ranks(some, sample, truth)
    options = [Choice(count, min(rows - 1, math.ceil(each * k))) for count in counts for each in _DEPTHS]
    others = truth != sample[:, None]
    enough = [each for each in options if (ranks[each.components][others] <= each.depth).mean() >= _WANTED]

    def cost(choice: Choice) -> float:
        return rows / 2 * (choice.components * _PRODUCT + _LOOK) + choice.depth * dim * _RESCORE

    return min(enough, key=cost) if enough else options[-1]


def _ranks(vectors: Float32, sample: Int64, truth: Int64) -> Int64:
    """The rank by components of each of some others, `truth` (n, k), of the rows `sample` (n,), itself at rank 0."""
    norms = np.einsum("ij,ij->i", vectors, vectors)
    squares = norms - 2 * (vectors[sample] @ vectors.T)
    squares[np.arange(len(sample)), sample] = -np.inf
    out = np.empty(truth.shape, np.int64)
    for at, others in enumerate(truth):
        out[at] = np.count_nonzero(squares[at] < squares[at, others][:, None], axis=1)
    return out


def _refuse_infinite(vectors: Float32) -> None:
    if not np.isfinite(vectors).all():
        raise IndexerError(
            "An embedding holds NaN or infinite values: embed the images again, with --dtype float32 in case they did "
            "not fit float16."
        )
