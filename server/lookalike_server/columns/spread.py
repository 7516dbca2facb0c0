"""An order of rows whose beginning is spread evenly over all of them."""

from __future__ import annotations

import math

import numpy as np

from lookalike_indexer.arrays import Int64

_GOLDEN = (math.sqrt(5) - 1) / 2


def spread(start: int, stop: int, total: int) -> Int64:
    """The rows at places `start` to `stop` - 1 of the order, which has each of `total` rows once; int64.

    Steps of the golden ratio, around a circle of all rows, leave gaps of at most three lengths wherever they stop
    (Sós, 1958: the three-distance theorem). So images of every folder come early, in proportion to their number.
    """
    step = max(1, round(total * _GOLDEN))
    while math.gcd(step, total) > 1:
        step += 1
    return np.arange(start, stop, dtype=np.int64) * step % max(total, 1)
