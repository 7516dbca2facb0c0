"""Who may call what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from lookalike.v1 import server_pb2
from lookalike_server.errors import ForbiddenError, UnknownCallerError
from lookalike_server.interceptors import Call, Continuation, Handler, UnaryInterceptor
from lookalike_server.tokens import Caller, Role, Tokens

_SERVER = server_pb2.DESCRIPTOR.services_by_name["ServerService"].full_name

# What changes the server; all else only reads.
ADMIN = frozenset({f"/{_SERVER}/Reload"})
# Monitors have no token, and reflection tells what the .proto files tell everybody.
OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")

_SCHEME = "bearer "


class Access(UnaryInterceptor):
    """Lets calls through that their caller may make.

    With `tokens`, a call needs one, as "authorization: Bearer TOKEN". Without,
    everybody who can connect has the role `anyone`.
    """

    def __init__(self, tokens: Tokens | None, anyone: Role) -> None:
        self._tokens = tokens
        self._anyone = Caller("", anyone)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        if handler_call_details.method.startswith(OPEN):
            return await continuation(handler_call_details)
        handler = await super().intercept_service(continuation, handler_call_details)
        # A stream would pass unchecked. There is none, and whoever adds one shall think of this.
        return None if handler is not None and handler.response_streaming else handler

    def wrap(self, method: str, call: Call) -> Call:
        if self._tokens is None and (method not in ADMIN or self._anyone.role == "admin"):
            # Nothing of a call has to be looked at.
            return call

        async def checked(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._check(method, context.invocation_metadata() or ())
            return await call(request, context)

        return checked

    def _check(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        caller = self._anyone if self._tokens is None else self._known(self._tokens, metadata)
        if method in ADMIN and caller.role != "admin":
            who = f"The token of {caller.name} has the role {caller.role}" if caller.name else "This call has no token"
            raise ForbiddenError(f"{who}, and {method.rpartition('/')[2]} needs the role admin.")

    def _known(self, tokens: Tokens, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        given = [value for key, value in metadata if key == "authorization" and isinstance(value, str)]
        if len(given) != 1 or not given[0].lower().startswith(_SCHEME):
            raise UnknownCallerError("This server asks for a token; give one, such as by --token-file.")
        caller = tokens.caller(given[0][len(_SCHEME) :].strip())
        if caller is None:
            raise UnknownCallerError("This server does not know the token; ask whoever runs it for another.")
        return caller
