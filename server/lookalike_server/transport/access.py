"""Authorization: the role that each method needs, and which callers see paths."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from lookalike.v1 import server_pb2, update_pb2
from lookalike_server.common import call_record as record
from lookalike_server.common import visible
from lookalike_server.common.errors import ForbiddenError, UnknownCallerError
from lookalike_server.common.peers import is_this_machine
from lookalike_server.common.visible import Roots, ShowPaths
from lookalike_server.transport.collection_names import limit_to
from lookalike_server.transport.interceptors import Call, Continuation, Handler, Stream, UnaryInterceptor, within
from lookalike_server.transport.local_user import LocalUser
from lookalike_server.transport.tokens import Caller, Role, Tokens

_UPDATE = update_pb2.DESCRIPTOR.services_by_name["UpdateService"]
_SERVER = server_pb2.DESCRIPTOR.services_by_name["ServerService"].full_name

# Methods that change the server.
ADMIN = frozenset({f"/{_SERVER}/Reload"})
# Methods that change collections.
WRITE = frozenset(f"/{_UPDATE.full_name}/{method.name}" for method in _UPDATE.methods)
# Open to all, because health probes have no token.
OPEN = "/grpc.health.v1.Health/"

_SCHEME = "bearer "
_ANYONE = Caller("", "read")
_LOCAL_USER = Caller("local user", "admin")


class Access(UnaryInterceptor):
    """Interceptor that checks the caller's role, and hides paths from callers that must not see them.

    With `tokens`, every call needs one, as "authorization: Bearer TOKEN", from any address. A token
    limited to collections is enforced by CollectionNames once the request has been read. Without
    `tokens`, everyone who can connect may read, and only `local_user` has the roles write and
    admin. `roots` returns the folders to hide.
    """

    def __init__(self, tokens: Tokens | None, local_user: LocalUser, show_paths: ShowPaths, roots: Roots) -> None:
        self._tokens = tokens
        self._local_user = local_user
        self._show_paths = show_paths
        self._roots = roots

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        if handler_call_details.method.startswith(OPEN):
            return await continuation(handler_call_details)
        return await super().intercept_service(continuation, handler_call_details)

    def wrap(self, method: str, call: Call) -> Call:
        async def checked(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._check(method, context)
            return await call(request, context)

        return checked

    def wrap_stream(self, method: str, stream: Stream) -> Stream:
        @asynccontextmanager
        async def checked(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
            self._check(method, context)
            yield

        return within(checked, stream)

    def _check(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        caller = self._caller(method, context.invocation_metadata() or ())
        known = record.current()
        if known is not None:
            known.caller = caller.name
        if caller.collections:
            limit_to(caller)
        if not self._sees_paths(caller, context.peer()):
            visible.hide(self._roots)
        self._require(_role_for(method), method, caller)

    def _caller(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        if self._tokens is None:
            if method not in ADMIN and method not in WRITE:
                # Read calls need no further check.
                return _ANYONE
            token = _token(metadata)
            return _LOCAL_USER if token is not None and self._local_user.has(token) else _ANYONE
        token = _token(metadata)
        if token is None:
            raise UnknownCallerError("This server requires a token; send one, for example with --token-file.")
        caller = self._tokens.caller(token)
        if caller is None:
            raise UnknownCallerError(
                "This server does not know the token; ask the server's administrator for a new one."
            )
        return caller

    def _sees_paths(self, caller: Caller, peer: str) -> bool:
        if self._show_paths == "everyone" or caller.role == "admin":
            return True
        return self._show_paths == "local" and self._tokens is None and is_this_machine(peer)

    def _require(self, role: Role, method: str, caller: Caller) -> None:
        if caller.may(role):
            return
        name = method.rpartition("/")[2]
        if self._tokens is not None:
            raise ForbiddenError(
                f"The token of {caller.name} has the role {caller.role}, and {name} needs the role {role}."
            )
        raise ForbiddenError(
            f"Only the user who runs the server may call {name}: call it on its machine as that user, or start the "
            f"server with --tokens and send a token of the role {role}."
        )


def _role_for(method: str) -> Role:
    if method in ADMIN:
        return "admin"
    return "write" if method in WRITE else "read"


def _token(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Return the bearer token of a call, or None if it has none or several."""
    given = [value for key, value in metadata if key == "authorization" and isinstance(value, str)]
    if len(given) != 1 or not given[0].lower().startswith(_SCHEME):
        return None
    return given[0][len(_SCHEME) :].strip()
