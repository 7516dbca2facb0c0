"""Interface of scores of centroids by a product of reduced precision, with bounds on their error."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Scores(Protocol):
    """Compares the vectors (n, dim) of one device with centroids (k, dim), repeatedly.

    A score is half of a squared distance, minus the terms that are the same for all centroids of a vector.
    """

    def set_centroids(self, centroids: Tensor, squares: Tensor) -> None:
        """Set the centroids to compare with; `squares` are their squared norms, float32 (k,)."""
        ...

    def between(self, start: int, stop: int) -> Tensor:
        """Return the scores of the vectors from `start` to before `stop`, float32 (stop - start, k)."""
        ...

    def gap_error(self, start: int, best: Tensor, candidates: Tensor) -> Tensor:
        """Return an upper bound on the rounding error of the gap between each vector's two best scores, float32
        (rows,).

        `best` and their centroids `candidates` are (rows, 2); the vectors begin at `start`. A few rows in a thousand
        may exceed the bound, which does not matter for a centroid.
        """
        ...
