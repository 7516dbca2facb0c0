"""Distinct vectors of a set, if they are few."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Kind = TypeVar("Kind", bound=np.floating)


def distinct_rows(vectors: npt.NDArray[Kind], most: int) -> npt.NDArray[Kind] | None:
    """Return the distinct rows in order of first occurrence, or None if there are more than `most`."""
    first: dict[bytes, int] = {}
    for row, vector in enumerate(vectors):
        # Adding zero turns -0.0 into 0.0, which is equal but has other bytes.
        first.setdefault((vector + 0).tobytes(), row)
        if len(first) > most:
            return None
    return vectors[list(first.values())]
