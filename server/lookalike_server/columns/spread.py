"""Order of rows whose first rows are spread evenly over all of them."""

from __future__ import annotations

import math

import numpy as np

from lookalike_indexer.arrays import Int64

_GOLDEN = (math.sqrt(5) - 1) / 2


def spread(start: int, stop: int, total: int) -> Int64:
    """Return rows `[start, stop)` of the order, a permutation of `total` rows; int64.

    Steps of the golden ratio around a circle of all rows leave gaps of at most three lengths
    wherever they stop (Sós, 1958: the three-distance theorem). So images of every folder come
    early, in proportion to their number.
    """
    step = max(1, round(total * _GOLDEN))
    while math.gcd(step, total) > 1:
        step += 1
    return np.arange(start, stop, dtype=np.int64) * step % max(total, 1)
