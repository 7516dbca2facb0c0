"""Composition root of the page: routes, middleware and shared state."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

import lookalike
from lookalike.explorer import (
    api_changes,
    api_clusters,
    api_collection,
    api_colors,
    api_experiments,
    api_filter,
    api_map,
    api_search,
    errors,
)
from lookalike.explorer.about_server import AboutServer, get_server
from lookalike.explorer.callers import Callers, open_client, post_login, post_logout
from lookalike.explorer.guard import Guard
from lookalike.explorer.lru import ByteLru
from lookalike.explorer.settings import Bounds, Listen, Upstream
from lookalike.explorer.thumbnails import Thumbnails, get_thumbnail
from lookalike.explorer.uploads import Uploads, get_upload, post_upload

STATIC: Final = Path(__file__).parent / "static"
VIEWS: Final = ("/", "/search", "/image", "/clusters", "/mistakes", "/checks", "/map", "/login")


def create_app(upstream: Upstream, listen: Listen, bounds: Bounds | None = None) -> Starlette:
    """Create the page as an ASGI application."""
    bounds = bounds or Bounds()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.callers = Callers(upstream, bounds, listen.needs_tokens, secure=listen.encrypted)
        app.state.health = open_client(upstream, bounds, None)
        app.state.about_server = AboutServer()
        app.state.uploads = Uploads(bounds.upload_bytes, bounds.one_upload_bytes)
        app.state.colors = ByteLru[tuple[str, str, str]](bounds.color_bytes)
        app.state.thumbnails = Thumbnails(bounds.thumbnail_bytes)
        try:
            yield
        finally:
            await app.state.callers.close()
            await app.state.health.close()

    app = Starlette(
        routes=_routes(),
        middleware=[
            Middleware(Guard, names=listen.names, anyhow=not listen.loopback),
            Middleware(GZipMiddleware, minimum_size=2048, compresslevel=4),
        ],
        exception_handlers={
            lookalike.LookalikeError: errors.on_lookalike_error,
            HTTPException: errors.on_http_error,
        },
        lifespan=lifespan,
    )
    # A redirect's URL would lack the path prefix of a proxy.
    app.router.redirect_slashes = False
    app.state.upstream = upstream
    app.state.bounds = bounds
    return app


def _routes() -> list[BaseRoute]:
    return [
        *(Route(path, get_page) for path in VIEWS),
        Route("/api/health", api_collection.get_health),
        Route("/login", post_login, methods=["POST"]),
        Route("/logout", post_logout, methods=["POST"]),
        Route("/api/collection", api_collection.get_collection),
        Route("/api/collections", api_collection.get_collections),
        Route("/api/server", get_server),
        Route("/api/images", api_collection.get_images),
        Route("/api/labels", api_collection.get_labels),
        Route("/api/columns", api_filter.get_columns),
        Route("/api/matches", api_filter.get_matches),
        Route("/api/matching", api_filter.get_matching),
        Route("/api/image", api_collection.get_image),
        Route("/api/uploads", post_upload, methods=["POST"]),
        Route("/api/uploads/{name}", get_upload),
        Route("/api/search", api_search.get_search),
        Route("/api/clusters", api_clusters.get_clusters),
        Route("/api/members", api_clusters.get_members),
        Route("/api/changes", api_changes.get_changes),
        Route("/api/changes/add", api_changes.post_add, methods=["POST"]),
        Route("/api/changes/delete", api_changes.post_delete, methods=["POST"]),
        Route("/api/changes/label", api_changes.post_label, methods=["POST"]),
        Route("/api/changes/undo", api_changes.post_undo, methods=["POST"]),
        Route("/api/experiments/{name}", api_experiments.get_experiment),
        Route("/api/attribution", api_experiments.get_attribution),
        Route("/api/results", api_experiments.get_results),
        Route("/api/map", api_map.get_map),
        Route("/api/colors", api_colors.get_colors),
        Route("/thumbnails/{tag}/{id:int}/{size:int}.jpg", get_thumbnail),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
    ]


async def get_page(request: Request) -> Response:
    """Return the page; the browser chooses the view by the URL."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
