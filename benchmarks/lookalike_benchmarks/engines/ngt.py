"""NGT in this process: its graph ANNG over float32.

Its package has no tool to build the quantized graph (QG), which NGT recommends
for speed: `qbg` comes only with a build from source. Rows therefore have the name
ANNG.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any

import ngtpy

from lookalike_benchmarks.engines.shape import filled
from lookalike_indexer.arrays import Float32, Int64

_EDGES = 100
# An effort is 1,000 times epsilon, by which the search range exceeds the farthest neighbor found.
_EPSILONS = 1000


class Ngt:
    efforts = (10, 20, 30, 40, 60, 80, 100, 130, 160, 200, 300, 400, 600, 800, 1200)

    def build(self, vectors: Float32, folder: Path) -> None:
        place = str(folder / "index")
        ngtpy.create(place, vectors.shape[1], edge_size_for_creation=_EDGES, distance_type="L2")
        self._index = ngtpy.Index(place, zero_based_numbering=True)
        self._index.batch_insert(vectors, num_threads=os.cpu_count() or 1)
        self._index.save()

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        found = [self._index.search(query, k, effort / _EPSILONS, with_distance=False) for query in queries]
        return filled([[int(one) for one in row] for row in found], k)

    def about(self) -> dict[str, Any]:
        return {"version": importlib.metadata.version("ngt"), "index": f"ANNG, fp32, {_EDGES} edges"}

    def close(self) -> None:
        self._index.close()


make = Ngt
