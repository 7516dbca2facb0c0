"""How long batches take of late, and so how long what waits will have to."""

from __future__ import annotations

import math
from collections.abc import Sequence

# What a new batch counts against all before it.
_WEIGHT = 0.2


class LatencyModel:
    """A straight line through the sizes and seconds of batches: a part that each costs, and one for each unit of size.

    A scan costs most of its time whatever its size; a search of an index costs
    its time for each query. The line is by least squares, earlier batches
    counting less and less; neither part is ever below nothing. As long as all
    batches had one size, nothing tells the parts apart, and all of it counts as
    the part that each costs: that guess refuses nobody without need.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        # The largest size that was run: of much larger ones the line says nothing.
        self.largest: float = 0.0
        # Weighted means, and the spread of sizes around theirs, alone and with the seconds.
        self._size = self._seconds = 0.0
        self._variance = self._covariance = 0.0
        self._known = False

    def record(self, size: float, seconds: float) -> None:
        """A batch has been run."""
        if not size:
            return
        self.largest = max(self.largest, size)
        if not self._known:
            self._size, self._seconds, self._known = float(size), seconds, True
            return
        more, longer = size - self._size, seconds - self._seconds
        self._size += _WEIGHT * more
        self._seconds += _WEIGHT * longer
        # Exponentially weighted moments, updated without a sum of large squares.
        self._variance = (1 - _WEIGHT) * (self._variance + _WEIGHT * more * more)
        self._covariance = (1 - _WEIGHT) * (self._covariance + _WEIGHT * more * longer)

    @property
    def unit_s(self) -> float:
        """The seconds of each unit of size."""
        if self._variance <= 0:
            return 0.0
        return min(max(0.0, self._covariance / self._variance), self._seconds / self._size)

    @property
    def batch_s(self) -> float:
        """The seconds that a batch costs besides."""
        return max(0.0, self._seconds - self.unit_s * self._size)

    def seconds(self, size: float, batches: float = 1) -> float:
        """How long so many batches take that have this size together; 0 as long as no batch has been run."""
        return batches * self.batch_s + size * self.unit_s if self._known else 0.0

    def doubling(self, size: float) -> float:
        """The size of the batch that takes twice as long as one of this size; endless where the size costs nothing."""
        return 2 * size + self.batch_s / self.unit_s if self.unit_s else math.inf

    def wait_s(self, size: float, batches: float, running: Sequence[tuple[float, float]] = ()) -> float:
        """How long it takes until a queue of this size, which takes so many batches, has been run; 0 as long as no
        batch has been.

        `running` are the sizes of the batches that workers run, and the
        seconds since they began. One that has taken longer than batches do is
        thought to take longer by as much again. What waits is taken by
        whichever worker is free, so that one that hangs holds up nobody else.
        """
        if not self._known:
            return 0.0
        unit_s, batch_s = self.unit_s, self.batch_s
        work = self.seconds(size, batches)
        busy = sorted(abs(batch_s + run * unit_s - taken) for run, taken in running)
        free = [0.0] * (self._workers - len(busy)) + busy
        ends = work + free[0]
        for workers in range(2, len(free) + 1):
            if free[workers - 1] >= ends:
                break
            ends = (work + sum(free[:workers])) / workers
        return ends

    def within(self, seconds: float) -> float:
        """The size that one worker does in so many seconds, at least 1.

        Where what each batch costs leaves little of them, the rest may take as
        long as that: smaller batches would be slower still.
        """
        unit_s, batch_s = self.unit_s, self.batch_s
        return max(1.0, max(seconds - batch_s, batch_s) / unit_s) if unit_s else math.inf
