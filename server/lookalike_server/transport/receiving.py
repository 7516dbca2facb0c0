"""How many messages may arrive at a time, since nobody can tell their sizes before they are there.

Until a call's message is read, gRPC takes no more of it than a stream's window
(listen.py), whatever the caller sends. Once it is read, gRPC takes all of it. So
a call has to have a place before its message is read, and the places times the
largest message are the memory that messages take which are not there yet.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from lookalike_server.common.errors import ExpiredError, OverloadedError
from lookalike_server.common.limits import Limits
from lookalike_server.common.peers import host_of
from lookalike_server.transport.fair_slots import FairSlots
from lookalike_server.transport.fixed_timeout import FixedTimeout

# While another connection waits that receives nothing, the oldest message that has taken so long is given up: of a
# connection with several first.
_OF_SEVERAL_S = 1.0
_OF_ONE_S = 5.0


class Receiving:
    """Reads the messages of calls: `max_peer_bytes` of one peer at a time, and half of `max_bytes` of all."""

    def __init__(self, limits: Limits, fronts: int = 1) -> None:
        """`fronts` is how many processes share what is for the messages of all peers."""
        largest = limits.max_message_bytes
        self._of_peer = max(1, limits.max_peer_bytes // largest)
        self._timeout = FixedTimeout(limits.max_receive_ms / 1000)
        self._all = self._places(max(1, limits.max_bytes // 2 // largest // fronts))
        self._peers: dict[str, FairSlots] = {}
        # Those that are being read, the oldest first: whose, and since when.
        self._reading: dict[asyncio.Task[Any], tuple[str, float]] = {}
        self._given_up: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """The messages that are arriving."""
        return len(self._reading)

    async def read(self, context: Any) -> bytes | None:
        """The next message of a call; None where the caller sends no more.

        ExpiredError: it took too long. OverloadedError: it was given up for others.
        """
        connection = context.peer()
        host = host_of(connection)
        mine = self._peers.get(host)
        if mine is None:
            mine = self._peers[host] = self._places(self._of_peer)
        await mine.reserve(connection)
        try:
            await self._all.reserve(host)
            try:
                return await self._read(context, connection)
            finally:
                self._all.release(host)
        finally:
            mine.release(connection)
            if not mine.held and not mine.waiting:
                self._peers.pop(host, None)

    def _places(self, number: int) -> FairSlots:
        # One is left for who comes next, whatever a single connection, or peer, sends.
        return FairSlots(number, max(1, number - 1), self._look_soon)

    async def _read(self, context: Any, connection: str) -> bytes | None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait")
        self._reading[task] = connection, time.monotonic()
        try:
            data = await self._timeout.wait_for(context.read())
        except TimeoutError as error:
            raise self._late(task) from error
        finally:
            del self._reading[task]
            self._given_up.discard(task)
        return data if isinstance(data, bytes) else None

    def _late(self, task: asyncio.Task[Any]) -> Exception:
        if task in self._given_up:
            return OverloadedError(
                "The call's message took long to arrive while others waited to send theirs; ask again later, or send "
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
        """Give up the oldest message for each connection and peer that waits and has no place."""
        self._timer = None
        for host, places in self._peers.items():
            if any(not places.held[connection] for connection in places.waiting):
                self._give_up(host)
        if any(not self._all.held[host] for host in self._all.waiting):
            self._give_up(None)
        if self._all.waiting or any(places.waiting for places in self._peers.values()):
            self._look_soon()

    def _give_up(self, host: str | None) -> None:
        """Give up a message of a peer, or of the peer that receives the most, if one has taken so long."""
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
                    return
