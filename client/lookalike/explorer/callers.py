"""Who may look: everyone who reaches the page, or those who logged in with a token of the server.

The page has no users of its own. On loopback the server decides alone: where it
asks for a token, one that the page was started with is used, or the one that
somebody logs in with. Beyond loopback everyone logs in. A login is a random
name in a cookie that scripts cannot read; the token stays here.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import AuthenticationError, InvalidArgumentError
from lookalike.aio import Client
from lookalike.explorer.settings import Bounds, Upstream

COOKIE: Final = "lookalike-session"
_LOGIN_BYTES: Final = 8192
_ASK: Final = "This server asks for a token: log in with one."


@dataclass
class _Session:
    client: Client
    used: float


class Callers:
    """The client of each caller; `everyone_logs_in` refuses those without a session."""

    def __init__(self, upstream: Upstream, bounds: Bounds, everyone_logs_in: bool, secure: bool) -> None:
        self._upstream = upstream
        self._bounds = bounds
        self._everyone_logs_in = everyone_logs_in
        self.secure = secure
        self._own = open_client(upstream, bounds, upstream.token)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._closing: list[Client] = []
        # When the server last answered each, and the question that several wait for.
        self._admitted: weakref.WeakKeyDictionary[Client, float] = weakref.WeakKeyDictionary()
        self._asking: weakref.WeakKeyDictionary[Client, asyncio.Task[object]] = weakref.WeakKeyDictionary()

    def require(self, request: Request) -> Client:
        """The client that asks on behalf of a request; AuthenticationError when it must log in first."""
        session = self._sessions.get(_session_name(request))
        if session is not None and time.monotonic() - session.used < self._bounds.session_s:
            session.used = time.monotonic()
            self._sessions.move_to_end(_session_name(request))
            return session.client
        self.forget(request)
        if self._everyone_logs_in:
            raise AuthenticationError(_ASK)
        return self._own

    async def admit(self, request: Request) -> Client:
        """As `require`, for what is answered without asking the server: it must have answered this caller of late.

        Not ever: a token may have been taken back since.
        """
        client = self.require(request)
        if time.monotonic() - self._admitted.get(client, -math.inf) > self._bounds.admitted_s:
            await self._ask(client)
        return client

    def answered(self, client: Client) -> None:
        """Take notice that the server has answered a caller."""
        self._admitted[client] = time.monotonic()

    async def _ask(self, client: Client) -> None:
        """Ask the server once, however many of a page's pictures wait for it."""
        asking = self._asking.get(client)
        if asking is None or asking.done():
            asking = self._asking[client] = asyncio.create_task(client.info())
        # One who leaves must not cancel what others wait for.
        await asyncio.shield(asking)
        self.answered(client)

    def forget(self, request: Request) -> None:
        """End the session of a request, if it has one."""
        session = self._sessions.pop(_session_name(request), None)
        if session is not None:
            self._closing.append(session.client)

    async def log_in(self, token: str) -> str:
        """The name of a new session; errors as Client.info, AuthenticationError when the server refuses the token."""
        client = open_client(self._upstream, self._bounds, token)
        try:
            await client.info()
        except BaseException:
            await client.close()
            raise
        name = secrets.token_urlsafe(32)
        self._sessions[name] = _Session(client, time.monotonic())
        while len(self._sessions) > self._bounds.sessions:
            self._closing.append(self._sessions.popitem(last=False)[1].client)
        await self._close_ended()
        return name

    async def close(self) -> None:
        """End all connections."""
        self._closing += [self._own, *(session.client for session in self._sessions.values())]
        self._sessions.clear()
        await self._close_ended()

    async def _close_ended(self) -> None:
        ended, self._closing = self._closing, []
        for client in ended:
            await client.close()


def open_client(upstream: Upstream, bounds: Bounds, token: str | None) -> Client:
    """A client of the server that shows a token, if there is one."""
    return Client(
        upstream.server,
        tls=upstream.tls,
        timeout=bounds.call_s,
        retries=1,
        wait_for_server=False,
        token=token,
        insecure=upstream.insecure,
    )


def _session_name(request: Request) -> str:
    return request.cookies.get(COOKIE, "")


async def post_login(request: Request) -> Response:
    """Log in with the token that is the body; the session's name is set as a cookie."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LOGIN_BYTES:
            raise InvalidArgumentError("No token is that long.")
    token = body.decode("utf-8", "replace").strip()
    if not token:
        raise InvalidArgumentError("The token is empty.")
    callers: Callers = request.app.state.callers
    callers.forget(request)
    name = await callers.log_in(token)
    return _set_session(request, JSONResponse({"logged_in": True}), name)


async def post_logout(request: Request) -> Response:
    """End the session."""
    request.app.state.callers.forget(request)
    return _set_session(request, JSONResponse({"logged_in": False}), "")


def _set_session(request: Request, reply: Response, name: str) -> Response:
    """Set the cookie, or end it by the name ""."""
    # The scheme is that of the browser, also where a proxy on this machine ends its encryption and tells of it.
    secure = request.app.state.callers.secure or request.url.scheme == "https"
    age = None if name else 0
    # Without a path, a cookie is for the folder of the address that set it. Only the browser knows that folder where a
    # proxy puts a prefix before it, and what else the proxy serves must not see the cookie.
    reply.set_cookie(COOKIE, name, max_age=age, path=None, httponly=True, samesite="strict", secure=secure)
    return reply
