"""Nearest-neighbor search by principal components: candidates by components, distances by stored embeddings.

The embeddings of images have far fewer directions than dimensions, so that nearly all of the nearest neighbors are
among the nearest by some tens of components. A sample determines the numbers of components and candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.graph.groups import Group
from lookalike_indexer.graph.lists import Neighbors, nearest
from lookalike_indexer.graph.near_pairs import Rows, nearest_pairs, rounded
from lookalike_indexer.graph.rescoring import rescored, rescored_within
from lookalike_indexer.indexing.projection import projectable, train_components
from lookalike_indexer.progress import Bar, Progress
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows

COMPONENTS = (64, 96, 128, 192, 256)
_TRAINED_ON, _SEED = 4096, 99
# The share of a sample's nearest neighbors that the candidates must include; the printed recall is measured on other
# images.
_WANTED, _SAMPLE = 0.98, 96
_BLOCK = 1024
# If components find less than this share with the maximum number of candidates, they are not used.
_LEAST = 0.5
# The tried numbers of candidates for each requested neighbor.
_DEPTHS = (1.25, 1.5, 2, 3, 4, 6)
# Seconds for one component of an image, and for one dimension of a candidate.
_COMPARE, _RESCORE = 2.5e-7, 1e-9


class ComponentSearch:
    """Holds candidates (n, depth) for all rows of a space, including deleted ones, and compares them by full
    embeddings.
    """

    def __init__(
        self, reader: CollectionReader, space: str, metric: Metric, candidates: Rows, choice: Choice | None = None
    ) -> None:
        self._reader, self._space, self._metric = reader.whole, space, metric
        self._candidates, self.choice = candidates, choice
        self._ids = self._reader.ids(space)
        self._live = reader.live(self._ids)

    def __call__(self, group: Group, k: int, bar: Bar) -> Neighbors:
        candidates = self._candidates[np.searchsorted(self._ids, group.ids)].astype(np.int64)
        ids = np.where((candidates < 0) | ~self._live[candidates], -1, self._ids[candidates])
        if len(group.ids) == np.count_nonzero(self._live):
            places = np.where(ids < 0, -1, np.searchsorted(group.ids, ids))
            # In place, because the embeddings may take a gigabyte, and nothing else reads them.
            for start in range(0, len(group.ids), _BLOCK):
                some = slice(start, start + _BLOCK)
                group.vectors[some] = prepare(group.vectors[some], self._metric)
            distances = rescored_within(group.vectors, places, self._metric)
            bar.advance(len(self._ids))
        else:
            queries = prepare(group.vectors, self._metric)
            candidates[ids < 0] = -1
            distances = rescored(self._reader, self._space, queries, candidates, self._metric, bar)
        return nearest(ids, distances, group.ids, k)


@dataclass(frozen=True)
class Choice:
    """The number of components to compare, and of candidates for each image."""

    components: int
    depth: int


def component_search(
    reader: CollectionReader, space: str, k: int, metric: Metric, progress: Progress
) -> ComponentSearch | None:
    """Find candidates for all images of a space; None: components are not informative enough for this space.

    Raise IndexerError if an embedding is not finite. Memory for each image: at most 9 bytes for each of up to 256
    components, and about 90 for each candidate.
    """
    whole = reader.whole
    rows = whole.space(space)[1].rows
    projected, sample, nearest_of_sample = _projected(whole, space, k, metric, progress)
    choice = _choice(whole, space, k, projected, sample, nearest_of_sample)
    if choice is None:
        return None
    dead = 1 - float(reader.live(whole.ids(space)).mean())
    depth = min(rows - 1, math.ceil(choice.depth / max(1 - dead, 0.1)))
    vectors = rounded(projected[:, : choice.components])
    del projected
    with progress.stage(f"compare {choice.components} components of {space}", rows, "image") as bar:
        return ComponentSearch(reader, space, metric, nearest_pairs(vectors, depth, bar), choice)


def _projected(
    reader: CollectionReader, space: str, k: int, metric: Metric, progress: Progress
) -> tuple[Float32, Int64, Int64]:
    """Return the components of all rows, (rows, components), the sample's rows that determine the choice, and the ids
    of the k nearest of each of these and of itself, (sample, k + 1). All come from one pass.
    """
    rows, dim = reader.space(space)[1].rows, reader.space(space)[1].dim
    sample = choose_rows(rows, _TRAINED_ON, _SEED)
    trained = prepare(reader.vectors(space, np.sort(sample)), metric)
    _refuse_infinite(trained)
    components = train_components(trained, min(dim, len(trained), COMPONENTS[-1])).T
    out = np.empty((rows, components.shape[1]), np.float32)

    def projecting(bar: Bar) -> Iterator[tuple[Int64, Float32]]:
        start = 0
        for ids, vectors in reader.stream_ahead(space):
            prepared = prepare(vectors, metric)
            _refuse_infinite(prepared)
            np.matmul(projectable(prepared), components, out=out[start : start + len(ids)])
            start += len(ids)
            yield ids, prepared
            bar.advance(len(ids))

    few = np.sort(sample[:_SAMPLE])
    queries = reader.vectors(space, few)
    with progress.stage(f"components of {space}", rows, "image") as bar:
        found, _ = exact_search(projecting(bar), queries, min(k, rows - 1) + 1, metric, prepared=True)
    return out, few, found


def _choice(
    reader: CollectionReader, space: str, k: int, projected: Float32, sample: Int64, found: Int64
) -> Choice | None:
    """Return the cheapest numbers of components and candidates that find enough of a sample's nearest; the largest if
    none do.

    `found` are the ids of the nearest of the sample. Components are compared in their rounded form. None: even the
    largest numbers find less than `_LEAST` of them.
    """
    rows, dim = reader.space(space)[1].rows, reader.space(space)[1].dim
    place = dict(zip(reader.ids(space).tolist(), range(rows), strict=True))
    ranks: dict[int, Int64] = {}
    counts = [count for count in COMPONENTS if count < projected.shape[1]] + [projected.shape[1]]
    truth = np.array([[place[one] for one in row] for row in found.tolist()])
    for count in counts:
        ranks[count] = _ranks(rounded(projected[:, :count]), sample, truth)
    options = [Choice(count, min(rows - 1, math.ceil(each * k))) for count in counts for each in _DEPTHS]
    others = truth != sample[:, None]
    held = [float((ranks[each.components][others] <= each.depth).mean()) for each in options]
    if max(held) < _LEAST:
        return None
    enough = [each for each, share in zip(options, held, strict=True) if share >= _WANTED]

    def cost(choice: Choice) -> float:
        return choice.components * _COMPARE + choice.depth * dim * _RESCORE

    return min(enough, key=cost) if enough else options[-1]


def _ranks(vectors: Float32, sample: Int64, truth: Int64) -> Int64:
    """Return the rank by components of other rows `truth` (n, k) from the rows `sample` (n,), which have rank 0.

    Among equal distances, the lower row is nearer, as in `nearest_pairs`.
    """
    norms = np.einsum("ij,ij->i", vectors, vectors)
    out = np.empty(truth.shape, np.int64)
    products = vectors[sample] @ vectors.T
    for at, (own, others) in enumerate(zip(sample, truth, strict=True)):
        squares = norms - 2 * products[at]
        squares[own] = -np.inf
        for place, other in enumerate(others):
            nearer = np.count_nonzero(squares < squares[other])
            out[at, place] = nearer + np.count_nonzero(squares[:other] == squares[other])
    return out


def _refuse_infinite(vectors: Float32) -> None:
    if not np.isfinite(vectors).all():
        raise IndexerError(
            "An embedding holds NaN or infinite values: embed the images again, with --dtype float32 in case they did "
            "not fit float16."
        )
