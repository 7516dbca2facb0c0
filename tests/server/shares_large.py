"""Compare shares of large indexes with the whole indexes, bit by bit.

python -m tests.server.shares_large [--rows 100000] [--dim 2048] [--queries 1000] KIND...

A KIND is a faiss factory string or an index of two stages. Takes minutes and some GB, so `make test` does not run it.
"""

from __future__ import annotations

import argparse
import sys
import time

import faiss
import numpy as np

from lookalike_indexer.indexing import two_stage
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.searcher import OnDevice

from .test_shares import effort, spread

_TRAINED_ON = 12_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("kinds", nargs="+", metavar="KIND")
    asked = parser.parse_args()
    vectors = made(asked.rows, asked.dim)
    rng = np.random.default_rng(4)
    # Half of the queries are images, including copies, and half are near none in particular.
    stored = np.sort(rng.choice(asked.rows, asked.queries // 2, replace=False))
    others = rng.standard_normal((asked.queries - len(stored), asked.dim), np.float32)
    queries = prepare(np.concatenate([vectors[stored], others]), "cosine")
    for kind in asked.kinds:
        began = time.monotonic()
        index = filled(kind, vectors)
        compare(kind, faiss.serialize_index(index), queries, asked.rows)
        sys.stdout.write(
            f"{kind}: {asked.queries} queries in {asked.rows} x {asked.dim}, shares of 1, 2 and 4 equal, "
            f"{time.monotonic() - began:.0f} s\n"
        )
        sys.stdout.flush()


def made(rows: int, dim: int) -> np.ndarray:
    """Return vectors around 500 centers; a twentieth of them are copies of others."""
    rng = np.random.default_rng(3)
    centers = rng.standard_normal((500, dim), np.float32)
    vectors = rng.standard_normal((rows, dim), np.float32)
    vectors += 2 * centers[rng.integers(0, 500, rows)]
    copied = rng.choice(rows, rows // 20, replace=False)
    vectors[copied] = vectors[rng.integers(0, rows // 50, len(copied))]
    return prepare(vectors, "cosine")


def filled(kind: str, vectors: np.ndarray) -> faiss.Index:
    stages, sample = two_stage.parse(kind), vectors[:_TRAINED_ON]
    if stages is None:
        index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.train(sample)
        index.add(vectors)
    else:
        index = two_stage.empty(stages, vectors.shape[1])
        two_stage.train(index, sample)
        two_stage.add(index, vectors)
    return index


def compare(kind: str, stored: np.ndarray, queries: np.ndarray, rows: int) -> None:
    """Compare; raise an error if a share of 1, 2 or 4 gives another row, distance or effort."""
    whole = OnDevice("cpu", faiss.deserialize_index(stored), "cosine")
    random = np.random.default_rng(5)
    # Masks like a filter that keeps a third, a filter that keeps a hundredth, and deleted images.
    masks = [RowMask(random.random(rows) < share) for share in (0.3, 0.01, 0.99)]
    theirs = QueryMasks(tuple(masks), np.arange(len(queries)) % 3)
    wanted = np.full(len(queries), 10)
    for masked in (None, theirs):
        expected = whole.search(queries, 10, effort(kind), wanted, masked)
        for count in (1, 2, 4):
            searcher, _ = spread(stored, "cosine", count)
            found = searcher.search(queries, 10, effort(kind), wanted, masked)
            np.testing.assert_array_equal(found.rows, expected.rows)
            np.testing.assert_array_equal(found.distances, expected.distances)
            np.testing.assert_array_equal(found.effort, expected.effort)


if __name__ == "__main__":
    main()
