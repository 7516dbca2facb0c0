"""numpy: one matrix product with all vectors, the baseline for indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lookalike_indexer.arrays import Float32, Int64


class Exact:
    efforts = (0,)

    def build(self, vectors: Float32, folder: Path) -> None:
        np.save(folder / "vectors.npy", vectors)
        self._vectors = vectors

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        scores = queries @ self._vectors.T
        nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, nearest, axis=1), axis=1)
        return np.take_along_axis(nearest, order, axis=1)

    def about(self) -> dict[str, Any]:
        return {"version": np.__version__, "index": "exact"}

    def close(self) -> None:
        pass


make = Exact
