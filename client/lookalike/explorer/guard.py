"""What every request must satisfy and every reply must carry, so that no other page can use this one.

The page has no script or style of other origins, none in its markup, and asks
nobody but its own server; a browser is told so, and enforces it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What a page on loopback may be called. Any other name is one that another site has pointed here.
_OWN_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]*)?")

_OTHER_SITE: Final = "This came from another site's page."
_NAME_IT: Final = "If {name} is a proxy in front of this page, start it with --http-name {name}."

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware: refuses what another site's page would send, and sets the security headers.

    `names` are the hosts by which a proxy in front makes the page known. The page answers to these and to the machine's
    own names, or to any with `anyhow`.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str], anyhow: bool) -> None:
        self._app = app
        self._names = frozenset(names)
        self._anyhow = anyhow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        if not self._anyhow and (problem := self._problem_of_host(headers.get("host", ""))):
            await _refusal(problem, 400)(scope, receive, send_guarded)
        elif problem := self._problem_of_site(headers, scope["path"], scope["method"]):
            await _refusal(problem, 403)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _problem_of_host(self, host: str) -> str:
        """Why the page does not answer to a host; "" where it does."""
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return "The request names no host that this page could have."
        name = found.group(1)
        if name in _OWN_NAMES or name in self._names:
            return ""
        return f"This page does not answer to the host {name}; behind a proxy, start it with --http-name {name}."

    def _problem_of_site(self, headers: Headers, path: str, method: str) -> str:
        """Why a request is not that of the page itself; "" where it may be."""
        # Browsers set both headers by themselves, and no page can change them; other programs send neither.
        site = headers.get("sec-fetch-site", "none")
        if site == "same-origin":
            # The browser compared the addresses that it knows. A proxy may have put another host into the request.
            return ""
        if site != "none":
            # Following a link to the page itself is no harm.
            return _OTHER_SITE if method != "GET" or path.startswith("/api/") else ""
        origin = headers.get("origin")
        if method == "GET" or origin is None or origin.partition("://")[2] == headers.get("host", ""):
            return ""
        name = _host_of(origin)
        if name in self._names:
            return ""
        # Browsers leave the other header out where the connection to another machine is not encrypted. Behind a proxy
        # that replaces the host, only a name that was given tells the page's own address from that of another site.
        return f"{_OTHER_SITE} {_NAME_IT.format(name=name)}" if name and _HOST.fullmatch(name) else _OTHER_SITE


def _refusal(sentence: str, status: int) -> JSONResponse:
    return JSONResponse({"error": sentence, "kind": "wrong"}, status)


def _host_of(origin: str) -> str | None:
    """The host of an origin in small letters, without its port; None for "null" and for what is no origin."""
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
