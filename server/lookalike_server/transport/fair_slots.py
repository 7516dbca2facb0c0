"""So many at a time, and of those who wait each in turn. For one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable


class FairSlots:
    """`number` places, of which one holder has `each` at the most.

    Those who wait are given places round robin: whoever asks for many waits
    behind others who ask for one. `on_wait` is called when one has to wait.
    """

    def __init__(self, number: int, each: int, on_wait: Callable[[], None] = lambda: None) -> None:
        self._free = number
        self._each = each
        self._on_wait = on_wait
        self.held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> list[str]:
        """The holders that wait for places, the next one first."""
        return list(self._waiting)

    async def reserve(self, holder: str) -> None:
        """Take a place, when there is one."""
        if self._free and self.held[holder] < self._each:
            self._given(holder)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, deque()).append(place)
        self._on_wait()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                # It was given a place at the same moment.
                self.release(holder)
            else:
                self._forget(holder, place)
            raise

    def release(self, holder: str) -> None:
        """Let the next one have a place."""
        self.held[holder] -= 1
        if not self.held[holder]:
            del self.held[holder]
        self._free += 1
        while self._free and (following := self._following()) is not None:
            places = self._waiting.pop(following)
            place = places.popleft()
            if places:
                self._waiting[following] = places
            # Who was cancelled, and has not run since, is passed over.
            if not place.done():
                self._given(following)
                place.set_result(None)

    def _following(self) -> str | None:
        return next((holder for holder in self._waiting if self.held[holder] < self._each), None)

    def _given(self, holder: str) -> None:
        self._free -= 1
        self.held[holder] += 1

    def _forget(self, holder: str, place: asyncio.Future[None]) -> None:
        places = self._waiting.get(holder)
        if places is not None and place in places:
            places.remove(place)
            if not places:
                del self._waiting[holder]
