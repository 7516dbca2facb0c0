"""Kinds of index side by side, built as an indexer builds and searched as a server searches, in one process.

    python -m lookalike_benchmarks.first_stage --rows 100000 hnsw pca128-hnsw

Prints for each kind the build time in seconds and, for each effort, the recall@10
and the queries/s, one at a time and in batches of 64.
"""

from __future__ import annotations

import argparse
import time

import faiss
import numpy as np

from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.indexing import recipes
from lookalike_indexer.indexing.build import add, empty_index, one_thread_for_graphs, train
from lookalike_indexer.indexing.products import multiply_from_few
from lookalike_indexer.indexing.recall import efforts
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.exact import exact_search
from lookalike_server.placement.searcher import OnDevice

_K, _BATCH, _QUERIES = 10, 64, 500
_ENOUGH = 0.995


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", metavar="KIND", help="as lookalike build --index takes them")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    options = parser.parse_args()
    source = Clustered(options.rows, options.dim)
    vectors, queries = source.all(), source.queries(_QUERIES)
    truth = exact_search([(np.arange(len(vectors)), vectors)], queries, _K, "cosine")[0]
    multiply_from_few(options.dim, 1)
    for kind in options.kinds:
        recipe = recipes.choose(options.rows, options.dim, BuildSettings(index=kind))
        began = time.perf_counter()
        index = empty_index(recipe.factory, options.dim, "cosine", 1)
        if recipe.train_size:
            train(index, vectors[: recipe.train_size], recipe.factory, (), Silent())
        with one_thread_for_graphs(index):
            add(index, vectors)
        print(f"{kind} ({recipe.factory}): built in {time.perf_counter() - began:.1f} s", flush=True)
        _measure(index, queries, truth)


def _measure(index: faiss.Index, queries: Float32, truth: Int64) -> None:
    searcher = OnDevice("cpu", index, "cosine")
    for effort in efforts(index):
        found = searcher.search(queries, _K, effort).rows
        recall = np.mean([len(set(ours) & set(theirs)) / _K for ours, theirs in zip(found, truth, strict=True)])
        single, batched = (_speed(searcher, queries, size, effort) for size in (1, _BATCH))
        print(f"  effort {effort}: recall {recall:.4f}, {single:,.0f} single, {batched:,.0f} in batches", flush=True)
        if recall >= _ENOUGH:
            break


def _speed(searcher: OnDevice, queries: Float32, size: int, effort: int) -> float:
    began = time.perf_counter()
    for start in range(0, len(queries), size):
        searcher.search(queries[start : start + size], _K, effort)
    return len(queries) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
