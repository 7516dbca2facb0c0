"""The explorer's web server with the toy gRPC server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.types import ASGIApp, Receive, Scope, Send

from lookalike.explorer.app import create_app
from lookalike.explorer.settings import Bounds, Listen, Upstream

Serve = Callable[..., AbstractContextManager["Page"]]


class Page:
    """A browser's requests to the page's server, run one at a time."""

    def __init__(self, runner: asyncio.Runner, browser: httpx.AsyncClient) -> None:
        self._runner = runner
        self._browser = browser
        self.cookies = browser.cookies

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self._runner.run(self._browser.get(path, **request))

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self._runner.run(self._browser.post(path, **request))

    def together(self, *paths: str) -> list[httpx.Response]:
        """Send several requests concurrently."""

        async def ask() -> list[httpx.Response]:
            return await asyncio.gather(*(self._browser.get(path) for path in paths))

        return self._runner.run(ask())


class Proxy:
    """Reverse proxy that forwards requests below `prefix` to an app, without the prefix, and may replace the host."""

    def __init__(self, app: ASGIApp, prefix: str, host: str | None) -> None:
        self._app, self._prefix, self._host = app, prefix, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"].startswith(self._prefix + "/")
        headers = [(name, self._host.encode() if self._host and name == b"host" else v) for name, v in scope["headers"]]
        path = scope["path"].removeprefix(self._prefix)
        await self._app({**scope, "path": path, "raw_path": path.encode(), "headers": headers}, receive, send)


@contextmanager
def serve_page(
    server: str,
    listen: Listen | None = None,
    bounds: Bounds | None = None,
    *,
    behind: tuple[str, str | None] | None = None,
    base_url: str = "http://127.0.0.1:8080",
) -> Iterator[Page]:
    """Serve the page; `behind` is the prefix and the host of a reverse proxy."""
    app = create_app(Upstream(server), listen or Listen(), bounds)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        transport = httpx.ASGITransport(app if behind is None else Proxy(app, *behind))
        browser = httpx.AsyncClient(transport=transport, base_url=base_url)
        try:
            yield Page(runner, browser)
        finally:
            runner.run(browser.aclose())
            runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture
def serve() -> Serve:
    """Serve the page of a server: `with serve(address) as page`."""
    return serve_page


@pytest.fixture
def page(toy: Any) -> Iterator[Page]:
    """The page of the toy server."""
    with serve_page(toy.address) as client:
        yield client


@pytest.fixture(scope="session")
def red_png() -> bytes:
    """A small red image."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 12), (255, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()
