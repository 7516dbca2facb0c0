"""Limited places, granted round robin to the holders that wait. For one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable


class FairSlots:
    """`number` places, of which one holder has at most `each`.

    Waiting holders get places round robin, so a holder that asks for many waits behind those that
    ask for one. `on_wait` is called when a request for a place has to wait.
    """

    def __init__(self, number: int, each: int, on_wait: Callable[[], None] = lambda: None) -> None:
        self._free = number
        self._each = each
        self._on_wait = on_wait
        self.held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> list[str]:
        """Holders that wait for places, the next one first."""
        return list(self._waiting)

    async def reserve(self, holder: str) -> None:
        """Take a place; wait until one is free."""
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
                # A place was assigned at the same moment as the cancellation.
                self.release(holder)
            else:
                self._forget(holder, place)
            raise

    def release(self, holder: str) -> None:
        """Free a place and give it to the next waiter."""
        self.held[holder] -= 1
        if not self.held[holder]:
            del self.held[holder]
        self._free += 1
        while self._free and (following := self._following()) is not None:
            places = self._waiting.pop(following)
            place = places.popleft()
            if places:
                self._waiting[following] = places
            # A waiter that was canceled, but has not run since, is skipped.
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
