"""The collection, its images and its labels."""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import Collection, Served, StoredImages, UnimplementedError
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.tag import tag_of
from lookalike.explorer.thumbnails import SIZES

_PAGE = 200
_LABELS = 1000


async def get_collection(request: Request) -> Response:
    """Return the collection, and the tag for the URLs of thumbnails."""
    client = request.app.state.callers.require(request)
    collection = await client.info()
    request.app.state.callers.answered(client, collection)
    return JSONResponse(
        {
            "collection": dataclasses.asdict(collection),
            "tag": tag_of(collection),
            "sizes": SIZES,
        }
    )


async def get_collections(request: Request) -> Response:
    """Return the collections that the caller may use, with the `problem` of unloaded ones; [] if unsupported."""
    client: Client = request.app.state.callers.require(request)
    try:
        found = await client.collections()
    except UnimplementedError:
        found = ()
    return JSONResponse({"collections": [dataclasses.asdict(each) for each in found]})


async def get_health(request: Request) -> Response:
    """Return whether the server is ready. Needs no login, so that the page can wait for the server."""
    return JSONResponse({"serving": await request.app.state.health.is_serving(timeout=5)})


async def get_images(request: Request) -> Response:
    """Return a page of images: with a `label` sorted by id, otherwise in mixed order.

    `where`: only images that match.
    """
    client: Client = request.app.state.callers.require(request)
    size = parameters.integer(request, "limit", 60, 1, _PAGE)
    label = parameters.text(request, "label", "")
    where = parameters.where(request)
    pager = client.images(label=label, where=where, order="id" if label else "spread", page_size=size)
    page = await anext(pager.pages(parameters.text(request, "token", "")))
    return JSONResponse(
        {"images": image_rows(page.items), "total": page.total, "next": page.next_page_token, **served(page.served)}
    )


async def get_labels(request: Request) -> Response:
    """Return the first thousand labels by name, and the number of all labels."""
    client: Client = request.app.state.callers.require(request)
    page = await anext(client.labels(page_size=_LABELS).pages())
    return JSONResponse({"labels": [each._asdict() for each in page.items], "total": page.total})


async def get_image(request: Request) -> Response:
    """Return one image by `id` or `key`, with its cluster in every clustering."""
    client: Client = request.app.state.callers.require(request)
    if "key" in request.query_params:
        image = await client.lookup(key=parameters.text(request, "key"))
    else:
        image = await client.lookup(id=parameters.image_id(request))
    memberships = await _memberships(client, image.id, parameters.integer(request, "members", 9, 0, 60))
    return JSONResponse({"image": image._asdict(), "memberships": memberships})


async def _memberships(client: Client, image_id: int, members: int) -> list[dict[str, Any]]:
    collection = await client.info()
    if not collection.clusterings:
        return []
    names = [each.name for each in collection.clusterings]
    found = await client.clusters(id=image_id, clusterings=names, members=members)
    return [
        {
            "clustering": each.clustering,
            "cluster": each.cluster,
            "metric": each.metric,
            "distance": number(each.distance),
            "margin": number(each.margin),
            "size": each.size,
            "nearest": [
                {"id": one.id, "key": one.key, "label": one.label, "distance": number(one.distance)}
                for one in each.nearest
            ],
        }
        for each in found
    ]


def image_rows(images: StoredImages) -> list[dict[str, Any]]:
    """Convert images to JSON."""
    return [{"id": each.id, "key": each.key, "label": each.label} for each in images]


def number(value: float) -> float | None:
    """Return a number for JSON, which has neither NaN nor infinity: None for these."""
    return value if abs(value) < float("inf") else None


def served(what: Served) -> dict[str, Any]:
    """Convert the server's report to JSON, for the page's small print."""
    return {"served": dataclasses.asdict(what)}


def clustering_of(collection: Collection, name: str) -> str:
    """Return the clustering `name`; for "" the default one of the default space, else of any space; "" without one."""
    if name:
        return name
    spaces = sorted(collection.spaces, key=lambda each: each.name != collection.default_space)
    current = (each.default_clustering for each in spaces if each.default_clustering)
    # Servers before 0.2 do not report the default clustering.
    return next(current, collection.clusterings[0].name if collection.clusterings else "")
