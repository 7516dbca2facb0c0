"""Filters for measurements: random ones, and those that keep the rows nearest to a query or farthest from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.manifest import RecallPoint
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.recall import MEASURED_AT, efforts
from lookalike_indexer.indexing.two_stage import searched

Kind = Literal["random", "near", "far"]
KINDS: tuple[Kind, ...] = ("random", "near", "far")

# Number of stored vectors with which a recall ladder is measured.
_ASKED = 200


@dataclass(frozen=True)
class Filterable:
    """Vectors (rows, dim), queries (n, dim), their products (n, rows), and `by_class` (n, rows).

    `by_class` has the rows sorted by the distance of their class to each query.
    """

    vectors: Float32
    queries: Float32
    products: Float32
    by_class: npt.NDArray[np.int32]

    @classmethod
    def of(cls, made: Clustered, queries: int) -> Filterable:
        """Build from a mixture, whose clusters are the classes."""
        vectors, asked, classes = made.all(), made.queries(queries), made.classes()
        sums = np.zeros((made.clusters, made.dim), np.float32)
        np.add.at(sums, classes, vectors)
        nearness = np.argsort(np.argsort(-(asked @ sums.T), axis=1), axis=1)
        by_class = np.stack([np.argsort(line[classes], kind="stable").astype(np.int32) for line in nearness])
        return cls(vectors, asked, asked @ vectors.T, by_class)

    def masks(self, kind: Kind, share: float, seed: int = 0) -> list[Bools]:
        """Return the rows that each query may find; a random mask is shared by all queries."""
        count = self.matches(share)
        if kind == "random":
            mask = np.zeros(len(self.vectors), np.bool_)
            mask[np.random.default_rng(seed).choice(len(mask), count, replace=False)] = True
            return [mask] * len(self.queries)
        masks = np.zeros((len(self.queries), len(self.vectors)), np.bool_)
        for line, order in enumerate(self.by_class):
            masks[line, order[:count] if kind == "near" else order[-count:]] = True
        return list(masks)

    def matches(self, share: float) -> int:
        """Return the number of rows of a share."""
        return max(1, round(share * len(self.vectors)))

    def recall(self, found: Int64, masks: list[Bools] | None = None) -> float:
        """Return the mean share of the true neighbors among the allowed rows that were found (n, k)."""
        shares = []
        for line, rows in enumerate(found):
            products = self.products[line] if masks is None else np.where(masks[line], self.products[line], -np.inf)
            k = len(rows) if masks is None else min(len(rows), int(masks[line].sum()))
            shares.append(float(np.isin(np.argpartition(-products, k - 1)[:k], rows).mean()))
        return float(np.mean(shares))


def ladder(index: faiss.Index, vectors: Float32, seed: int = 3) -> Iterator[RecallPoint]:
    """Yield the recall ladders of an index over vectors in memory, as `lookalike build` measures them."""
    if describe(index).lossless:
        return
    asked = np.random.default_rng(seed).choice(len(vectors), _ASKED, replace=False)
    ks = [k for k in MEASURED_AT if k < len(vectors)]
    truth = np.stack([np.argpartition(-(vectors @ vectors[row]), ks[-1] + 1)[: ks[-1] + 1] for row in asked])
    costs = [-(vectors[rows] @ vectors[row]) for row, rows in zip(asked, truth, strict=True)]
    truth = np.stack([rows[np.argsort(cost)] for rows, cost in zip(truth, costs, strict=True)])
    for k in ks:
        count = min(_ASKED, max(20, 20_000 // k))
        for effort in efforts(index):
            found = searched(index, vectors[asked[:count]], k + 1, effort)
            # Each query finds itself.
            hits = [np.isin(rows[: k + 1], one).sum() - 1 for rows, one in zip(truth, found, strict=False)]
            yield RecallPoint(effort, float(np.mean(hits)) / k, k)
            if hits and np.mean(hits) >= k:
                break
