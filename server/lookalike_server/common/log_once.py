"""Rate limit for repeated log lines."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# Beyond this number, the oldest are forgotten, and would be logged again.
_MOST = 1024


@dataclass
class _LoggedLine:
    until: float
    quiet: int = 0


class LogOnce(Generic[K]):
    """Decides whether an event deserves a log line: the first time, and again `seconds` after its last line."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said: OrderedDict[K, _LoggedLine] = OrderedDict()

    def quiet(self, what: K) -> int | None:
        """Return how often it happened without a line since its last one, or None if it should not be logged now."""
        now = time.monotonic()
        known = self._said.get(what)
        if known is not None and now < known.until:
            known.quiet += 1
            return None
        self._said[what] = _LoggedLine(now + self._seconds)
        self._said.move_to_end(what)
        if len(self._said) > _MOST:
            self._said.popitem(last=False)
        return 0 if known is None else known.quiet

    def over(self, all_of_them: bool = False) -> Iterator[tuple[K, int]]:
        """Forget old events, or all of them. Yield each with the number of its occurrences without a line."""
        now = time.monotonic()
        for what, known in list(self._said.items()):
            if not all_of_them and now < known.until:
                return
            del self._said[what]
            if known.quiet:
                yield what, known.quiet
