"""Limits of the messages that arrive at the same time, because their sizes are unknown until they have arrived.

Until the server reads a call's message, gRPC buffers at most a stream's window (listen.py). Once it
reads, gRPC buffers the whole message. So a call needs a place before its message is read. The
number of places times the largest message bounds the memory of arriving messages.

A request in pieces needs one place among those of such requests. Its received bytes are part of
what its call has reserved (admission.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from lookalike_server.common.errors import ExpiredError, OverloadedError
from lookalike_server.common.limits import Limits
from lookalike_server.common.peers import host_of
from lookalike_server.transport.carried import received
from lookalike_server.transport.fair_slots import FairSlots
from lookalike_server.transport.fixed_timeout import FixedTimeout

# While another connection waits and receives nothing, the oldest message that has taken this long is given up: first
# one of a connection that receives several.
_OF_SEVERAL_S = 1.0
_OF_ONE_S = 5.0

T = TypeVar("T")


class Receiving:
    """Reader of messages or requests in pieces, with limited places.

    The places of one peer hold half of its `max_peer_bytes`, and all places hold a quarter of
    `max_bytes`.
    """

    def __init__(self, limits: Limits, fronts: int = 1) -> None:
        """`fronts` is the number of processes that share the places of all peers."""
        largest = limits.whole_bytes
        self._of_peer = max(1, limits.max_peer_bytes // 2 // largest)
        self._timeout = FixedTimeout(limits.max_receive_ms / 1000)
        self._all = self._places(max(1, limits.max_bytes // 4 // largest // fronts))
        self._peers: dict[str, FairSlots] = {}
        # Reads in progress, oldest first: the connection, and the start time.
        self._reading: dict[asyncio.Task[Any], tuple[str, float]] = {}
        self._given_up: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """Number of messages that are arriving."""
        return len(self._reading)

    async def read(self, context: Any) -> bytes | None:
        """Read the next message of a call. Return None if the caller sends no more.

        Raises ExpiredError if it took too long, and OverloadedError if it was given up for other
        callers.
        """
        data = await self._placed(context, context.read)
        return data if isinstance(data, bytes) else None

    async def read_pieces(self, context: Any, size: int) -> list[bytes]:
        """Read the pieces of a request of `size` bytes.

        Raises as `read` does, and ArgumentError if the pieces differ from what was announced.
        """

        async def read() -> list[bytes]:
            # The client waits for this before it sends the pieces, so a rejected call sends none.
            await context.send_initial_metadata(())
            return await received(context.read, size)

        return await self._placed(context, read)

    def press(self, connection: str) -> None:
        """Give up a slow request for a connection that was rejected because others hold the bytes.

        It is one of another connection at the same address, or else of the peer that receives the
        most.
        """
        host = host_of(connection)
        held = self._peers[host].held if host in self._peers else {}
        if not held.get(connection) and not self._give_up(host) and self._all.held:
            self._give_up(None)

    async def _placed(self, context: Any, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        connection = context.peer()
        host = host_of(connection)
        mine = self._peers.get(host)
        if mine is None:
            mine = self._peers[host] = self._places(self._of_peer)
        await mine.reserve(connection)
        try:
            await self._all.reserve(host)
            try:
                return await self._read(connection, read)
            finally:
                self._all.release(host)
        finally:
            mine.release(connection)
            if not mine.held and not mine.waiting:
                self._peers.pop(host, None)

    def _places(self, number: int) -> FairSlots:
        # One place stays free for the next connection or peer, whatever a single one sends.
        return FairSlots(number, max(1, number - 1), self._look_soon)

    async def _read(self, connection: str, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait")
        self._reading[task] = connection, time.monotonic()
        try:
            return await self._timeout.wait_for(read())
        except TimeoutError as error:
            raise self._late(task) from error
        finally:
            del self._reading[task]
            self._given_up.discard(task)

    def _late(self, task: asyncio.Task[Any]) -> Exception:
        if task in self._given_up:
            return OverloadedError(
                "The call's message took long to arrive while others waited to send theirs; retry later, or send "
                "less at a time.",
                retry_after=_OF_ONE_S,
            )
        return ExpiredError(
            f"The call's message did not arrive within {self._timeout.seconds:g} s; send less at a time."
        )

    def _look_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_OF_SEVERAL_S / 2, self._look)

    def _look(self) -> None:
        """Give up the oldest message for each connection or peer that waits and has no place."""
        self._timer = None
        for host, places in self._peers.items():
            if any(not places.held[connection] for connection in places.waiting):
                self._give_up(host)
        if any(not self._all.held[host] for host in self._all.waiting):
            self._give_up(None)
        if self._all.waiting or any(places.waiting for places in self._peers.values()):
            self._look_soon()

    def _give_up(self, host: str | None) -> bool:
        """Give up a slow message of `host`, or of the peer that receives the most. Return whether there was one."""
        if host is None:
            host = max(self._all.held, key=self._all.held.__getitem__)
        held = self._peers[host].held if host in self._peers else {}
        now = time.monotonic()
        several = [task for task, (connection, _) in self._reading.items() if held.get(connection, 0) > 1]
        for tasks, longest in ((several, _OF_SEVERAL_S), (list(self._reading), _OF_ONE_S)):
            for task in tasks:
                connection, since = self._reading[task]
                if host_of(connection) == host and task not in self._given_up and now - since > longest:
                    self._given_up.add(task)
                    self._timeout.end(task)
                    return True
        return False
