"""The page's own server over the toy gRPC server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import pytest
from PIL import Image

from lookalike.explorer.app import create_app
from lookalike.explorer.settings import Bounds, Listen, Upstream

Serve = Callable[..., AbstractContextManager["Page"]]


class Page:
    """Requests of a browser to the page's server, each waited for."""

    def __init__(self, runner: asyncio.Runner, browser: httpx.AsyncClient) -> None:
        self._runner = runner
        self._browser = browser
        self.cookies = browser.cookies

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self._runner.run(self._browser.get(path, **request))

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self._runner.run(self._browser.post(path, **request))

    def together(self, *paths: str) -> list[httpx.Response]:
        """Several at the same moment."""

        async def ask() -> list[httpx.Response]:
            return await asyncio.gather(*(self._browser.get(path) for path in paths))

        return self._runner.run(ask())


@contextmanager
def serve_page(server: str, listen: Listen | None = None, bounds: Bounds | None = None) -> Iterator[Page]:
    app = create_app(Upstream(server), listen or Listen(), bounds)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        transport = httpx.ASGITransport(app)
        browser = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")
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
    """A small picture, all red."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 12), (255, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()
