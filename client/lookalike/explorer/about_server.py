"""Cache of the server's description, since server_info may start the embedding network."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import weakref
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import ServerInfo
from lookalike.aio import Client

_HELD_S: Final = 300.0


class AboutServer:
    """Cache of the server's description for each client and generation; concurrent requests share one call."""

    def __init__(self, held_s: float = _HELD_S) -> None:
        self._held_s = held_s
        self._asked: weakref.WeakKeyDictionary[Client, _Asked] = weakref.WeakKeyDictionary()

    async def get(self, client: Client, timeout: float) -> ServerInfo:
        """Return the server's description; raise the errors of Client.server_info, which are not cached."""
        # This call also checks that the caller is allowed, and detects a new generation with another network.
        generation = (await client.info()).generation
        asked = self._asked.get(client)
        if asked is None or not asked.holds(generation, self._held_s):
            asked = _Asked(asyncio.create_task(client.server_info(timeout=timeout)), generation, time.monotonic())
            self._asked[client] = asked
        # A request that is canceled must not cancel the call that others wait for.
        return await asyncio.shield(asked.answer)


@dataclass(frozen=True)
class _Asked:
    answer: asyncio.Task[ServerInfo]
    generation: int
    when: float

    def holds(self, generation: int, held_s: float) -> bool:
        failed = self.answer.done() and (self.answer.cancelled() or self.answer.exception() is not None)
        return not failed and generation == self.generation and time.monotonic() - self.when < held_s


async def get_server(request: Request) -> Response:
    """Return the server's description with its limits. The first reply may take seconds."""
    state = request.app.state
    info = await state.about_server.get(state.callers.require(request), state.bounds.experiment_s)
    return JSONResponse({"server": dataclasses.asdict(info), "address": state.upstream.server})
