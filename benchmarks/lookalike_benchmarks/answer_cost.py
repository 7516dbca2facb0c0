"""Cost of batch-independent answers: the server's searcher against faiss alone, in one process.

    python -m lookalike_benchmarks.answer_cost --rows 20000 --dim 512

Prints a line for each kind of index: milliseconds of a batch by `index.search` and by
the server's searcher, and their ratio. Times are processor time of one thread, the
minimum of several passes that alternate between both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import faiss
import numpy as np

from lookalike_indexer.indexing.build import empty_index
from lookalike_indexer.indexing.params import search_parameters
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.placement.searcher import OnDevice

KINDS = {
    "flat": "Flat",
    "ivf-flat": "IVF128,Flat",
    "ivf-fp16": "IVF128,SQfp16",
    "ivf-sq8": "IVF128,SQ8",
    "ivf-pq": "IVF128,PQ32np",
    "ivf-pqfs": "IVF128,PQ32x4fs,Refine(SQ8)",
    "ivf-rabitq": "IVF128,RaBitQ,Refine(SQ8)",
    "hnsw": "HNSW32,SQ8",
}
_K, _NPROBE, _EF = 10, 8, 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--passes", type=int, default=7)
    given = parser.parse_args()
    faiss.omp_set_num_threads(1)
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((200, given.dim))
    noisy = centers[generator.integers(0, 200, given.rows)] + generator.standard_normal((given.rows, given.dim))
    vectors = prepare(noisy.astype(np.float32), "cosine")
    print(f"{given.rows} x {given.dim}, k = {_K}, nprobe {_NPROBE}, efSearch {_EF}, batches of 1 and 64")
    for name, factory in KINDS.items():
        index = empty_index(factory, given.dim, "cosine", 1)
        index.train(vectors[:8192])
        index.add(vectors)
        effort = _EF if name == "hnsw" else 0 if name == "flat" else _NPROBE
        placed, parameters = OnDevice("cpu", index, "cosine"), search_parameters(index, effort)
        for batch in (1, 64):
            asked = vectors[:batch] + np.float32(0.01)
            alone, whole = _turns(
                given.passes,
                partial(index.search, asked, _K, params=parameters),
                partial(placed.search, asked, _K, effort),
            )
            print(f"{name:<11} {batch:>3}  {1e3 * alone:8.2f}  {1e3 * whole:8.2f}  {whole / alone:5.2f}", flush=True)
    copies = np.repeat(vectors[:1] * 3, given.rows, axis=0)
    index = faiss.IndexFlatL2(given.dim)
    index.add(copies)
    placed, asked = OnDevice("cpu", index, "l2"), np.zeros((256, given.dim), np.float32)
    alone, whole = _turns(2, partial(index.search, asked, 1), partial(placed.search, asked, 1, 0))
    print(f"all copies  256  {1e3 * alone:8.2f}  {1e3 * whole:8.2f}  {whole / alone:5.2f}")


def _turns(passes: int, *calls: Callable[[], object]) -> list[float]:
    """Return the minimum seconds of each call."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(passes):
        for taken, call in zip(seconds, calls, strict=True):
            began = time.thread_time()
            call()
            taken.append(time.thread_time() - began)
    return [min(taken) for taken in seconds]


if __name__ == "__main__":
    main()
