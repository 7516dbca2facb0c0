"""Access control of the page: everyone who reaches it, or those who logged in with a token of the server.

The page has no users of its own. On loopback the server decides: if it requires a token, the page uses the one
that it was started with, or that of a login. Beyond loopback everyone must log in. A login is a random session name
in a cookie that scripts cannot read; the token stays in this process.
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

from lookalike import AuthenticationError, Collection, InvalidArgumentError, UnavailableError
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.settings import Bounds, Upstream
from lookalike.explorer.tag import tag_of

COOKIE: Final = "lookalike-session"
_LOGIN_BYTES: Final = 8192
_ASK: Final = "This server requires a token: log in with one."


@dataclass
class _Session:
    clients: _Clients
    used: float


@dataclass(frozen=True)
class _Admitted:
    """Time of the server's last reply to a client, and the tag of the collection in it."""

    when: float = -math.inf
    tag: str = ""


class Callers:
    """Clients of each caller, one for each collection; `everyone_logs_in` rejects callers without a session."""

    def __init__(self, upstream: Upstream, bounds: Bounds, everyone_logs_in: bool, secure: bool) -> None:
        self._upstream = upstream
        self._bounds = bounds
        self._everyone_logs_in = everyone_logs_in
        self.secure = secure
        self._own = _Clients(upstream, bounds, upstream.token)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        # Clients of ended sessions, whose connections are still open.
        self._ended: list[_Clients] = []
        self._admitted: weakref.WeakKeyDictionary[Client, _Admitted] = weakref.WeakKeyDictionary()
        # Calls in progress that several requests wait for.
        self._asking: weakref.WeakKeyDictionary[Client, asyncio.Task[Collection]] = weakref.WeakKeyDictionary()

    def require(self, request: Request) -> Client:
        """Return the client of a request's caller, for the collection that the URL names.

        AuthenticationError: the caller must log in first.
        """
        name = parameters.text(request, "collection", "")
        session = self._sessions.get(_session_name(request))
        if session is not None and time.monotonic() - session.used < self._bounds.session_s:
            session.used = time.monotonic()
            self._sessions.move_to_end(_session_name(request))
            return session.clients.get(name)
        self.forget(request)
        if self._everyone_logs_in:
            raise AuthenticationError(_ASK)
        return self._own.get(name)

    def is_logged_in(self, request: Request) -> bool:
        """Return True if the caller has a session."""
        return _session_name(request) in self._sessions

    def has_token(self, request: Request) -> bool:
        """Return True if the caller's calls have a token: that of a login, or the page's own."""
        return self.is_logged_in(request) or self._upstream.token is not None

    def writer(self, request: Request) -> Client:
        """Return the client of `require` for changes; AuthenticationError if it has no token.

        Without a token it would send the local secret of the user who runs the server, on behalf of any visitor.
        """
        client = self.require(request)
        if not self.has_token(request):
            raise AuthenticationError("Log in with a token of the role write to change the collection.")
        return client

    async def admit(self, request: Request) -> Client:
        """Return the client of `require` if the server has replied to it recently, for replies from the page's own
        caches.

        Recently, because a token may have been revoked since.
        """
        client = self.require(request)
        if time.monotonic() - self._admitted.get(client, _Admitted()).when > self._bounds.admitted_s:
            await self._ask(client)
        return client

    def tag(self, client: Client) -> str:
        """Return the tag of the collection of an admitted client, which may differ from the tag in a URL."""
        return self._admitted[client].tag

    def answered(self, client: Client, collection: Collection) -> None:
        """Record that the server has replied to a caller."""
        self._admitted[client] = _Admitted(time.monotonic(), tag_of(collection))

    async def _ask(self, client: Client) -> None:
        """Call the server once for all images of a page that wait for it."""
        asking = self._asking.get(client)
        if asking is None or asking.done():
            asking = self._asking[client] = asyncio.create_task(client.info())
        # A request that is canceled must not cancel the call that others wait for.
        self.answered(client, await asyncio.shield(asking))

    def forget(self, request: Request) -> None:
        """End the session of a request, if it has one."""
        session = self._sessions.pop(_session_name(request), None)
        if session is not None:
            self._ended.append(session.clients)

    async def log_in(self, token: str) -> str:
        """Start a session and return its name; errors as Client.info, AuthenticationError if the token is rejected."""
        clients = _Clients(self._upstream, self._bounds, token)
        try:
            await _check_token(clients.get(""))
        except BaseException:
            await clients.close()
            raise
        name = secrets.token_urlsafe(32)
        self._sessions[name] = _Session(clients, time.monotonic())
        while len(self._sessions) > self._bounds.sessions:
            self._ended.append(self._sessions.popitem(last=False)[1].clients)
        await self._close_ended()
        return name

    async def close(self) -> None:
        """Close all connections."""
        self._ended += [self._own, *(session.clients for session in self._sessions.values())]
        self._sessions.clear()
        await self._close_ended()

    async def _close_ended(self) -> None:
        ended, self._ended = self._ended, []
        for clients in ended:
            await clients.close()


class _Clients:
    """Clients of one caller by collection; "" is the first collection that the caller may use."""

    def __init__(self, upstream: Upstream, bounds: Bounds, token: str | None) -> None:
        self._upstream, self._bounds, self._token = upstream, bounds, token
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, collection: str) -> Client:
        """Return the client of a collection, which may not exist on the server."""
        client = self._clients.get(collection)
        if client is None:
            client = self._clients[collection] = open_client(self._upstream, self._bounds, self._token, collection)
        self._clients.move_to_end(collection)
        # The number is bounded because callers can make up names.
        while len(self._clients) > self._bounds.collections:
            task = asyncio.create_task(self._clients.popitem(last=False)[1].close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return client

    async def close(self) -> None:
        """Close the connections."""
        while self._clients:
            await self._clients.popitem()[1].close()
        await asyncio.gather(*self._closing)


async def _check_token(client: Client) -> None:
    try:
        await client.info()
    except UnavailableError:
        # The first collection may not be loaded, which does not depend on the token.
        await client.collections()


def open_client(upstream: Upstream, bounds: Bounds, token: str | None, collection: str = "") -> Client:
    """Open a client of the server with a token, if given, and for a collection."""
    return Client(
        upstream.server,
        tls=upstream.tls,
        timeout=bounds.call_s,
        retries=1,
        wait_for_server=False,
        token=token,
        insecure=upstream.insecure,
        collection=collection,
    )


def _session_name(request: Request) -> str:
    return request.cookies.get(COOKIE, "")


async def post_login(request: Request) -> Response:
    """Log in with the token in the body; the reply sets the session's name as a cookie."""
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
    """Set the session cookie, or expire it if the name is ""."""
    # The scheme is the browser's, even if a proxy on this machine terminates TLS and forwards the scheme.
    secure = request.app.state.callers.secure or request.url.scheme == "https"
    age = None if name else 0
    # Without a path, a cookie applies to the folder of the URL that set it. Behind a proxy with a path prefix only the
    # browser knows this folder, and other services of the proxy must not receive the cookie.
    reply.set_cookie(COOKIE, name, max_age=age, path=None, httponly=True, samesite="strict", secure=secure)
    return reply
