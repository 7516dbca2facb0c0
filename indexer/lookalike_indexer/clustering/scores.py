"""Scores of centroids by a product of reduced precision, and bounds on their error."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Scores(Protocol):
    """Compares the vectors (n, dim) of one device with centroids (k, dim), again and again.

    A score is half of a squared distance, less what is the same for all
    centroids of a vector.
    """

    def set_centroids(self, centroids: Tensor, squares: Tensor) -> None:
        """Compare with these centroids from now on; `squares` are their squared norms, float32 (k,)."""
        ...

    def between(self, start: int, stop: int) -> Tensor:
        """The scores of the vectors from `start` to before `stop`, float32 (stop - start, k)."""
        ...

    def gap_error(self, start: int, best: Tensor, candidates: Tensor) -> Tensor:
        """Upper bound on the rounding error of the gap between the two best scores of each vector, float32 (rows,).

        `best` and their centroids `candidates` are (rows, 2); the vectors begin
        at `start`. A few rows in a thousand may exceed the bound, which makes
        no difference to a centroid.
        """
        ...
