"""Retry policy of a call: the pauses, the number of attempts, and the deadline."""

from __future__ import annotations

import random
import time
from typing import Final

from lookalike import _errors as e
from lookalike._status import is_not_listening

# Backoff in seconds after a temporary rejection by the server.
_FIRST_S: Final = 0.1
_GROWTH: Final = 3
_LONGEST_S: Final = 2.0
# Longest pause in seconds while no server listens, so that a client soon finds a server that has started.
_LONGEST_WAIT_S: Final = 1.0
# Do not retry with less time left than this, in seconds.
_TOO_LATE_S: Final = 0.1

# Jitter, so that clients that were rejected together do not retry together.
_CHANCE: Final = random.SystemRandom()


class Attempts:
    """The attempts of one call, which share `timeout` seconds; None means no limit.

    A call that is temporarily rejected is retried up to `retries` times. If the server
    names the delay, as an overloaded server does, the call is retried until its timeout,
    unless `retries` is 0. With `waits`, a call that finds no listening server is retried
    until its timeout.
    """

    def __init__(self, timeout: float | None, retries: int, waits: bool) -> None:
        self.timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._retries = retries
        self._waits = waits
        self._refused = self._missed = 0

    @property
    def remaining(self) -> float | None:
        """The seconds left; None for no limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def pause_after(self, error: e.LookalikeError) -> float | None:
        """Return the seconds to wait before the next attempt; None if the error is final."""
        left = self.remaining
        if self._waits and is_not_listening(error):
            self._missed += 1
            pause = _varied(min(_LONGEST_WAIT_S, _FIRST_S * 2 ** min(self._missed - 1, 9)))
            if left is None:
                return pause
            return min(pause, left / 2) if left > _TOO_LATE_S else None
        pause_for_now = self._pause_for_now(error)
        if pause_for_now is None or (left is not None and pause_for_now >= left):
            return None
        self._refused += 1
        return pause_for_now

    def _pause_for_now(self, error: e.LookalikeError) -> float | None:
        """Return the pause after a temporary rejection; None for other errors or after too many retries."""
        if isinstance(error, e.OverloadedError) and error.retry_after is not None and self._retries:
            # The server spreads its callers over time, so only the timeout bounds these retries.
            return max(error.retry_after, _FIRST_S) * _CHANCE.uniform(1.0, 1.1)
        if self._refused >= self._retries:
            return None
        if isinstance(error, e.UnavailableError):
            return _varied(min(_LONGEST_S, _FIRST_S * _GROWTH**self._refused))
        return None


def _varied(pause: float) -> float:
    return pause * _CHANCE.uniform(0.8, 1.2)
