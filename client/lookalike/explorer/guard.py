"""Middleware that rejects requests from other sites and sets security headers.

The page has no scripts or styles of other origins, none inline, and calls only its own server. A content security
policy makes the browser enforce this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Valid host names of a page on loopback. A DNS rebinding attack would use any other name.
_OWN_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]*)?")

_OTHER_SITE: Final = "This request came from another site's page."
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
    """ASGI middleware that rejects requests from other sites' pages, and sets the security headers.

    `names` are the host names by which a proxy publishes the page. The page accepts these and the machine's loopback
    names, or any host with `anyhow`.
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
        """Return the reason to reject a host; "" if it is accepted."""
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return "The request names no host that this page could have."
        name = found.group(1)
        if name in _OWN_NAMES or name in self._names:
            return ""
        return f"This page does not answer to the host {name}; behind a proxy, start it with --http-name {name}."

    def _problem_of_site(self, headers: Headers, path: str, method: str) -> str:
        """Return the reason to reject a request that another site may have sent; "" if it is accepted."""
        # Browsers set both headers, and no page can change them; other programs send neither.
        site = headers.get("sec-fetch-site", "none")
        if site == "same-origin":
            # The browser compared the addresses that it knows; a proxy may have changed the Host header.
            return ""
        if site != "none":
            # A link to the page itself does no harm.
            return _OTHER_SITE if method != "GET" or path.startswith("/api/") else ""
        origin = headers.get("origin")
        if method == "GET" or origin is None or origin.partition("://")[2] == headers.get("host", ""):
            return ""
        name = _host_of(origin)
        if name in self._names:
            return ""
        # Browsers omit Sec-Fetch-Site on unencrypted connections to other machines. Behind a proxy that replaces Host,
        # only a configured name tells the page's own origin from another site's.
        return f"{_OTHER_SITE} {_NAME_IT.format(name=name)}" if name and _HOST.fullmatch(name) else _OTHER_SITE


def _refusal(sentence: str, status: int) -> JSONResponse:
    return JSONResponse({"error": sentence, "kind": "wrong"}, status)


def _host_of(origin: str) -> str | None:
    """Return the host of an origin in lower case without its port; None for "null" and invalid origins."""
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
