"""What every request must satisfy and every reply must carry, so that no other page can use this one.

The page has no script or style of other origins, none in its markup, and asks
nobody but its own server; a browser is told so, and enforces it.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """ASGI middleware: refuses what another site's page would send, and sets the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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

        if _of_another_site(Headers(scope=scope), scope["path"], scope["method"]):
            refusal = JSONResponse({"error": "This came from another site's page.", "kind": "wrong"}, 403)
            await refusal(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)


def _of_another_site(headers: Headers, path: str, method: str) -> bool:
    # Browsers set both by themselves, and no page can change them; other programs send neither.
    site = headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin"):
        # Following a link to the page itself is no harm.
        return method != "GET" or path.startswith("/api/")
    origin = headers.get("origin")
    return method != "GET" and origin is not None and origin.partition("://")[2] != headers.get("host", "")
