"""Earlier generations that a shard keeps, because routers still use them."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence

from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot

# Seconds without a request after which a router is assumed to be gone.
_GONE_S = 30.0
# Largest number of earlier generations to keep, and of routers to remember.
_MOST_KEPT, _MOST_ROUTERS = 2, 64
_LOOK_S = 1.0


class RouterGenerations:
    """Record of the generations that each router uses. For one event loop."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._routers: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()
        # Kept generations, the latest last, and those that have been given up.
        self._earlier: list[Snapshot] = []
        self._given_up: weakref.WeakSet[Snapshot] = weakref.WeakSet()
        current.keeps = self._keeps

    def note(self, router: str, digests: Sequence[str]) -> None:
        """Record the generations that a router uses, by their digests."""
        self._routers[router] = (time.monotonic(), frozenset(digests))
        self._routers.move_to_end(router)
        if len(self._routers) > _MOST_ROUTERS:
            self._routers.popitem(last=False)

    async def watch(self) -> None:
        """Close generations that no router uses any more, forever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self._current.close_unused()

    def _keeps(self, snapshot: Snapshot) -> bool:
        if snapshot in self._given_up:
            return False
        if snapshot not in self._earlier:
            self._earlier.append(snapshot)
            if len(self._earlier) > _MOST_KEPT:
                # Closed at the next check, even if routers still name it.
                self._given_up.add(self._earlier.pop(0))
        since = time.monotonic() - _GONE_S
        used = any(seen > since and snapshot.made in digests for seen, digests in self._routers.values())
        if not used:
            self._earlier.remove(snapshot)
        return used
