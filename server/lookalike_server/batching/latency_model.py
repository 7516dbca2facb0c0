"""Linear model of batch latency, for estimates of the queue's wait."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Weight of a new batch against the average of all earlier ones.
_WEIGHT = 0.2


class LatencyModel:
    """Line through the sizes and durations of recent batches: a fixed part per batch, and a part per unit of size.

    A scan takes about the same time for any size; an index search takes time for each query. The
    fit is exponentially weighted least squares, and both parts are at least 0. While all batches
    have had the same size, the two parts cannot be told apart, and all of the time counts as the
    fixed part. That guess rejects no call needlessly.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        # Largest size that has been run; the line says nothing about much larger ones.
        self.largest: float = 0.0
        # Exponentially weighted means, variance of the size, and covariance of size and seconds.
        self._size = self._seconds = 0.0
        self._variance = self._covariance = 0.0
        self._known = False

    def record(self, size: float, seconds: float) -> None:
        """Record the duration of a batch."""
        if not size:
            return
        self.largest = max(self.largest, size)
        if not self._known:
            self._size, self._seconds, self._known = float(size), seconds, True
            return
        more, longer = size - self._size, seconds - self._seconds
        self._size += _WEIGHT * more
        self._seconds += _WEIGHT * longer
        # Exponentially weighted moments, updated without sums of large squares.
        self._variance = (1 - _WEIGHT) * (self._variance + _WEIGHT * more * more)
        self._covariance = (1 - _WEIGHT) * (self._covariance + _WEIGHT * more * longer)

    @property
    def unit_s(self) -> float:
        """Seconds per unit of size."""
        if self._variance <= 0:
            return 0.0
        return min(max(0.0, self._covariance / self._variance), self._seconds / self._size)

    @property
    def batch_s(self) -> float:
        """Fixed seconds per batch."""
        return max(0.0, self._seconds - self.unit_s * self._size)

    def seconds(self, size: float, batches: float = 1) -> float:
        """Return the estimated seconds of `batches` batches of this total size; 0 before the first batch."""
        return batches * self.batch_s + size * self.unit_s if self._known else 0.0

    def doubling(self, size: float) -> float:
        """Return the size of a batch that takes twice as long as one of `size`; infinite if the size costs nothing."""
        return 2 * size + self.batch_s / self.unit_s if self.unit_s else math.inf

    def wait_s(self, size: float, batches: float, running: Sequence[tuple[float, float]] = ()) -> float:
        """Return the estimated seconds until a queue of this size, in `batches` batches, is done.

        It is 0 before the first batch.

        `running` has the size and the elapsed seconds of each running batch. A batch that exceeds
        its estimate is assumed to take that excess once more. The first free worker takes the next
        batch, so one hung worker delays no others.
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
        """Return the size that one worker runs in `seconds`, at least 1.

        If the fixed part leaves little of `seconds`, the other part may take as long as the fixed
        part: smaller batches would only lower the throughput.
        """
        unit_s, batch_s = self.unit_s, self.batch_s
        return max(1.0, max(seconds - batch_s, batch_s) / unit_s) if unit_s else math.inf
