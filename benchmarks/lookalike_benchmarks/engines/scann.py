"""ScaNN in this process: a tree of leaves, anisotropic 4-bit codes, and exact products for the best hits."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import numpy as np
import scann

from lookalike_indexer.arrays import Float32, Int64

_REORDER = 100
# As its documentation recommends: two dimensions per code, and this threshold for unit vectors.
_DIMENSIONS_A_CODE, _THRESHOLD = 2, 0.2


class Scann:
    efforts = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)

    def build(self, vectors: Float32, folder: Path) -> None:
        self._leaves = 2 * math.isqrt(len(vectors))
        builder = scann.scann_ops_pybind.builder(vectors, 10, "dot_product")
        builder = builder.tree(num_leaves=self._leaves, num_leaves_to_search=1, training_sample_size=len(vectors))
        builder = builder.score_ah(_DIMENSIONS_A_CODE, anisotropic_quantization_threshold=_THRESHOLD)
        self._searcher = builder.reorder(_REORDER).build()
        self._searcher.serialize(str(folder))

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        asked = {"final_num_neighbors": k, "leaves_to_search": effort, "pre_reorder_num_neighbors": _REORDER}
        if len(queries) == 1:
            found = self._searcher.search(queries[0], **asked)[0][None]
        else:
            found = self._searcher.search_batched_parallel(queries, **asked)[0]
        ids: Int64 = np.full((len(queries), k), -1, np.int64)
        ids[:, : found.shape[1]] = found
        return ids

    def about(self) -> dict[str, Any]:
        version = importlib.metadata.version("scann")
        return {"version": version, "index": f"{self._leaves} leaves, AH, reorder {_REORDER}"}

    def close(self) -> None:
        pass


make = Scann
