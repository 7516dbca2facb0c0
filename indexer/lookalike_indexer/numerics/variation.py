"""Detection of differences between vectors that exceed rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Embeddings of copies of an image differ by up to this much, relative to their length: float32 rounds with the batch.
NEGLIGIBLE = 1e-6


def all_equal(vectors: npt.NDArray[np.floating]) -> bool:
    """Return whether all vectors (n, dim) are equal up to rounding. True for fewer than two."""
    if len(vectors) < 2:
        return True
    largest = float(np.abs(vectors).max(initial=0))
    return bool(np.ptp(vectors, axis=0).max(initial=0) <= NEGLIGIBLE * largest)
