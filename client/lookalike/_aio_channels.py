"""Channels of the asyncio client: gRPC binds a channel to the event loop that opened it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc.aio

from lookalike import _forks, pieces
from lookalike._aio_pieces import Carrier

Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"


@dataclass
class _Bound:
    """The channel of one event loop, its cached methods, and the event that ends pauses when the channel closes."""

    channel: grpc.aio.Channel
    methods: dict[str, Method] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        self.over.set()
        await self.channel.close()


class LoopChannels:
    """One channel for each event loop that uses the client. The loops may run in several threads."""

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel]) -> None:
        self._open = open_channel
        self._bound: dict[asyncio.AbstractEventLoop, _Bound] = {}
        self._lock = threading.Lock()

    def method(self, path: str) -> Method:
        """Return the method of the running loop's channel; open the channel on first use."""
        bound = self._bound_here()
        method = bound.methods.get(path)
        if method is None:
            method = bound.methods[path] = bound.channel.unary_unary(path)
        return method

    def carrier(self) -> Carrier:
        """Return the method of the running loop's channel that carries other calls in pieces."""
        return self._bound_here().channel.stream_stream(pieces.METHOD)

    async def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until the channels are closed."""
        bound = self._bound.get(asyncio.get_running_loop())
        if bound is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bound.over.wait(), seconds)

    async def close(self) -> None:
        """Cancel the calls of all loops and close their channels."""
        running = asyncio.get_running_loop()
        with self._lock:
            bound, self._bound = self._bound, {}
        for loop, one in bound.items():
            if loop is running:
                await one.close()
            elif loop.is_running():
                # Calls can be canceled only in their own loop.
                asyncio.run_coroutine_threadsafe(one.close(), loop)
            # A loop that is not running has no calls in progress, so its channel closes when it is garbage-collected.

    def _bound_here(self) -> _Bound:
        loop = asyncio.get_running_loop()
        bound = self._bound.get(loop)
        return self._bind(loop) if bound is None else bound

    def _bind(self, loop: asyncio.AbstractEventLoop) -> _Bound:
        with self._lock:
            # A channel refers to its loop, so an entry would keep both of them alive.
            self._bound = {other: one for other, one in self._bound.items() if not other.is_closed()}
            bound = self._bound[loop] = _Bound(_forks.opened(self._open()))
        return bound
