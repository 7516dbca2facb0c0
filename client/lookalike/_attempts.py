"""When a call that failed is sent again: after which pause, how often, and until when."""

from __future__ import annotations

import random
import time
from typing import Final

from lookalike import _errors as e
from lookalike._status import nobody_listens

# Of a call that a server refuses for now.
_FIRST_S: Final = 0.1
_GROWTH: Final = 3
_LONGEST_S: Final = 2.0
# While nobody listens: a server that is starting is found soon after it is ready.
_LONGEST_WAIT_S: Final = 1.0
# Of what is left of a call's time, too little to try again.
_TOO_LATE_S: Final = 0.1

# Clients that were refused together must not come back together.
_CHANCE: Final = random.SystemRandom()


class Attempts:
    """The attempts of one call, which has `timeout` seconds for all of them; None for no limit.

    What a server refuses for now is tried again up to `retries` times. Where it
    names the pause, as an overloaded one does, the call is tried until its time
    is over, unless `retries` is 0. With `waits`, a call for which nobody listens is tried until its time is over.
    """

    def __init__(self, timeout: float | None, retries: int, waits: bool) -> None:
        self.timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._retries = retries
        self._waits = waits
        self._refused = self._missed = 0

    @property
    def remaining(self) -> float | None:
        """The seconds that are left, None for no limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def pause_after(self, error: e.LookalikeError) -> float | None:
        """The seconds to wait before the next attempt; None when the error is final."""
        left = self.remaining
        if self._waits and nobody_listens(error):
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
        """The pause after a refusal that may pass; None after another error, or too many of these."""
        if isinstance(error, e.OverloadedError) and error.retry_after is not None and self._retries:
            # The server spreads its callers over time by itself, so that the timeout alone bounds these.
            return max(error.retry_after, _FIRST_S) * _CHANCE.uniform(1.0, 1.1)
        if self._refused >= self._retries:
            return None
        if isinstance(error, e.UnavailableError):
            return _varied(min(_LONGEST_S, _FIRST_S * _GROWTH**self._refused))
        return None


def _varied(pause: float) -> float:
    return pause * _CHANCE.uniform(0.8, 1.2)
