"""Methods of a server as functions of bytes: the first byte selects the method, the others are its message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError as MessageError

from lookalike_server.common.errors import ArgumentError
from lookalike_server.observe.interceptor import Observed
from lookalike_server.observe.metrics import Metrics
from lookalike_server.transport.carried import received
from lookalike_server.transport.interceptors import Errors
from lookalike_server.transport.messages import text_bytes

_BAD = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"}


class Context:
    """The part of gRPC's context that is used between a socket and a handler."""

    def __init__(self) -> None:
        self._code, self._trailing = 0, ()
        self._ended: list[Callable[[Any], None]] = []

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def set_trailing_metadata(self, metadata: Any) -> None:
        self._trailing = metadata

    def trailing_metadata(self) -> Any:
        return self._trailing

    def add_done_callback(self, ended: Callable[[Any], None]) -> None:
        self._ended.append(ended)

    def end(self) -> None:
        """End the call, as gRPC does."""
        for ended in self._ended:
            ended(self)

    def time_remaining(self) -> float:
        return 30.0

    def peer(self) -> str:
        return "fuzz"

    def code(self) -> grpc.StatusCode:
        return self._code

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        self._code = code
        assert sum(len(value) for _, value in trailing_metadata) < 6000, "gRPC takes 8 KiB of headers"
        raise grpc.aio.AbortError


async def _in_pieces(data: bytes, size: int) -> None:
    """Read arbitrary messages as pieces: they are the announced bytes, or are rejected."""
    messages = iter(data.split(b"\0", 4))

    async def read() -> object:
        return next(messages, grpc.aio.EOF)

    try:
        found = await received(read, size)
    except ArgumentError:
        return
    assert sum(map(len, found)) == size


class Methods:
    """Methods of services, given as (module of their messages, name, servicer), behind a server's interceptors."""

    def __init__(self, *services: tuple[Any, str, Any]) -> None:
        outer, inner = Observed([Metrics()]), Errors()
        self._loop = asyncio.new_event_loop()
        self._methods: dict[str, tuple[Any, Any]] = {}
        for module, name, servicer in services:
            for method in module.DESCRIPTOR.services_by_name[name].methods:
                path = f"/lookalike.v1.{name}/{method.name}"
                call = outer.wrap(path, inner.wrap(path, getattr(servicer, method.name)))
                self._methods[method.name] = (getattr(module, method.input_type.name), call)
        self._names = sorted(self._methods)

    def target(self, data: bytes) -> None:
        """Run a call; any bytes must end in a reply or in one of the documented codes."""
        if not data:
            return
        self._loop.run_until_complete(_in_pieces(data[1:], data[0]))
        kind, call = self._methods[self._names[data[0] % len(self._names)]]
        assert text_bytes(data[1:], kind.DESCRIPTOR) >= 0
        try:
            request = kind.FromString(data[1:])
        except MessageError:
            return
        context = Context()
        try:
            reply = self._loop.run_until_complete(call(request, context))
        except grpc.aio.AbortError:
            code = context.code()
            assert code.name not in _BAD, (code.name, request)
        else:
            assert isinstance(reply, bytes) or reply.IsInitialized()
        context.end()

    def seed(self, method: str, request: Any) -> bytes:
        """Return the bytes of a call."""
        return bytes([self._names.index(method)]) + request.SerializeToString()
