"""What a product of reduced precision tells of distances, and how far it can be trusted."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Scores(Protocol):
    """The vectors (n, dim) of one device, ready to be compared with centroids (k, dim) again and again.

    A score is half of a squared distance, less what is the same for all
    centroids of a vector.
    """

    def aim(self, centroids: Tensor, squares: Tensor) -> None:
        """Take these centroids for what follows; `squares` are their squared norms, float32 (k,)."""
        ...

    def of(self, start: int, stop: int) -> Tensor:
        """The scores of some vectors, float32 (stop - start, k)."""
        ...

    def doubt(self, start: int, best: Tensor, candidates: Tensor) -> Tensor:
        """How far the scores `best` of each vector from `start` on, and of no other candidates, may be apart in truth.

        `best` and the `candidates` that have them are (rows, 2); so many of the
        rows' true differences are within (rows,) of what was found that it
        makes no difference to a centroid.
        """
        ...
