"""Generations that a front has mapped, as shared by the engine process.

A swap has two steps. The engine process describes the new generation (SHARE), and the front maps it
beside the old one. When all fronts have done so, the engine process serves it and says so (SERVE).
The front answers from it from its next call on, and releases the old one after the last call that
uses it.
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
    """Generation of each collection that this front answers from; none if the engine process must answer."""

    def __init__(self, collections: Sequence[CollectionSettings], send: Send) -> None:
        self._send = send
        self._openings = [FrontOpening(one.root, one.limits, FrontEngine) for one in collections]
        self.currents = [Current() for _ in collections]
        self._hidden: list[list[str]] = [[] for _ in collections]
        self._mapped: dict[int, FrontSnapshot] = {}
        # Id of the generation that each collection is served from.
        self._served: dict[int, int] = {}
        # Collections that must be served before this front is ready; None until they are known.
        self._awaited: set[int] | None = None
        self._settled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Number of engine processes that have gone. Ids of generations belong to one engine process.
        self._gone = 0

    async def wait_until_served(self) -> None:
        """Wait until this front serves the generations that existed when it connected."""
        await self._settled.wait()

    @property
    def hidden(self) -> list[str]:
        """Folders to hide from callers that see no paths."""
        return [folder for folders in self._hidden for folder in folders]

    def served(self, collection: int) -> int | None:
        """Return the id of the generation that calls about a collection are answered from, or None."""
        return self._served.get(collection)

    def received(self, kind: int, number: int, body: bytes) -> None:
        """Handle a frame of the engine process about the generation with an id."""
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
        """Release everything, because the engine process has gone."""
        for collection in list(self._served):
            self.withdraw(collection)
        for snapshot in self._mapped.values():
            snapshot.close()
        self._mapped.clear()
        self._gone += 1
        self._awaited = None
        self._settled.set()

    def withdraw(self, collection: int, number: int | None = None) -> None:
        """Leave the calls about a collection to the engine process until it shares another generation.

        Does nothing if they are already answered from another one than `number`; None means any.
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
            # Not fatal, because the engine process answers these calls too.
            log.warning("this front cannot map generation %d of %s: %s", shared.generation, shared.name, error)
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
