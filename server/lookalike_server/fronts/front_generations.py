"""The generations that a front has mapped, as the engine process gives them out: it hands over, both let go.

A generation comes in two steps. The engine process describes it (SHARE), and
the front maps it beside the one that it has. When all fronts have, the engine
process serves it and says so (SERVE); the front answers by it from its next
call on, and lets the earlier one go when the last call that uses it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from lookalike_server.common.settings import CollectionSettings
from lookalike_server.fronts.frames import Kind, numbers_of
from lookalike_server.fronts.front_engine import FrontEngine
from lookalike_server.fronts.shared_generation import FrontOpening, FrontSnapshot, decoded, open_generation
from lookalike_server.generation.current import Current

log = logging.getLogger(__name__)


class Send(Protocol):
    """Sends a frame to the engine process."""

    def __call__(self, kind: Kind, number: int, *body: bytes) -> None: ...


class FrontGenerations:
    """The generation of each collection that this front answers by; none where the engine process has to."""

    def __init__(self, collections: Sequence[CollectionSettings], send: Send) -> None:
        self._send = send
        self._openings = [FrontOpening(one.root, one.limits, FrontEngine) for one in collections]
        self.currents = [Current() for _ in collections]
        self._hidden: list[list[str]] = [[] for _ in collections]
        self._mapped: dict[int, FrontSnapshot] = {}
        # The generation that each collection is served by, by its id.
        self._served: dict[int, int] = {}
        # What has to be served before this front is ready; None until that is known.
        self._awaited: set[int] | None = None
        self._settled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # How many engine processes have gone: ids are those of one of them.
        self._gone = 0

    async def settled(self) -> None:
        """Wait until this front answers by the generations that there were when it came."""
        await self._settled.wait()

    @property
    def hidden(self) -> list[str]:
        """The folders that callers who see no paths must not be told of."""
        return [folder for folders in self._hidden for folder in folders]

    def served(self, collection: int) -> int | None:
        """The id of the generation that calls about a collection are answered by here; None for none."""
        return self._served.get(collection)

    def received(self, kind: int, number: int, body: bytes) -> None:
        """Take note of a frame of the engine process about the generation with an id."""
        if kind == Kind.SHARE:
            task = asyncio.create_task(self._map(number, body, self._gone))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == Kind.SERVE:
            self._serve(number, numbers_of(body)[0])
        elif kind == Kind.DROP:
            dropped = self._mapped.pop(number, None)
            if dropped is not None:
                dropped.close()
        elif kind == Kind.GREETED:
            self._awaited = set(numbers_of(body))
            self._settle(None)

    def lost(self) -> None:
        """The engine process has gone, and with it all that it gave out."""
        for collection in list(self._served):
            self.withdraw(collection)
        for snapshot in self._mapped.values():
            snapshot.close()
        self._mapped.clear()
        self._gone += 1
        self._awaited = None
        self._settled.set()

    def withdraw(self, collection: int, number: int | None = None) -> None:
        """Leave the calls about a collection to the engine process, until it gives out another generation.

        Nothing happens where they are answered by another one than `number` already; None: by whichever.
        """
        if number in (None, self._served.get(collection)) and self._served.pop(collection, None) is not None:
            self.currents[collection].withdraw()

    async def _map(self, number: int, body: bytes, gone: int) -> None:
        shared = decoded(body)
        try:
            snapshot = await asyncio.to_thread(open_generation, shared, self._openings[shared.collection])
        except Exception as error:
            if gone != self._gone:
                return
            # Whatever is wrong here, the engine process answers these calls as well.
            log.warning("generation %d of %s is not mapped: %s", shared.generation, shared.name, error)
            self._send(Kind.DECLINED, number)
            self._settle(shared.collection)
            return
        if gone != self._gone:
            snapshot.close()
            return
        snapshot.closed = lambda: self._released(number, gone)
        self._mapped[number] = snapshot
        self._hidden[shared.collection] = shared.hidden
        self._send(Kind.ADOPTED, number)

    def _released(self, number: int, gone: int) -> None:
        if gone == self._gone:
            self._send(Kind.RELEASED, number)

    def _serve(self, number: int, collection: int) -> None:
        snapshot = self._mapped.pop(number, None)
        if snapshot is None:
            self.withdraw(collection)
        else:
            self._served[collection] = number
            self.currents[collection].swap(snapshot)
        self._send(Kind.SERVING, number)
        self._settle(collection)

    def _settle(self, collection: int | None) -> None:
        if self._awaited is not None:
            self._awaited.discard(-1 if collection is None else collection)
            if not self._awaited:
                self._settled.set()
