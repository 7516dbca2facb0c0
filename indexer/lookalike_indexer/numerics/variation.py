"""Whether there is any difference between vectors that is more than rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Embeddings of copies of a picture differ by so much, relative to their length: float32 rounds with the batch.
NEGLIGIBLE = 1e-6


def all_alike(vectors: npt.NDArray[np.floating]) -> bool:
    """Whether all vectors (n, dim) are the same up to rounding. True for fewer than two."""
    if len(vectors) < 2:
        return True
    largest = float(np.abs(vectors).max(initial=0))
    return bool(np.ptp(vectors, axis=0).max(initial=0) <= NEGLIGIBLE * largest)
