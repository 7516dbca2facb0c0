"""What there is to look at: the collection and its images."""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import Collection, Served, StoredImages, UnimplementedError
from lookalike.aio import Client
from lookalike.explorer import asked
from lookalike.explorer.tag import tag_of
from lookalike.explorer.thumbnails import SIZES

_PAGE = 200
_LABELS = 1000


async def get_collection(request: Request) -> Response:
    """The collection, and the tag for thumbnails' addresses."""
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
    """The collections that the caller may look at; `problem` says why one of them is not loaded. Newer servers only."""
    client: Client = request.app.state.callers.require(request)
    try:
        found = await client.collections()
    except UnimplementedError:
        found = ()
    return JSONResponse({"collections": [dataclasses.asdict(each) for each in found]})


async def get_health(request: Request) -> Response:
    """Whether the server answers; needs no login, so that the page can wait for the server without one."""
    return JSONResponse({"serving": await request.app.state.health.is_serving(timeout=5)})


async def get_images(request: Request) -> Response:
    """A page of the images: those with a `label` by id, or all, so that the first are a mix of everything.

    `where`: of those that match.
    """
    client: Client = request.app.state.callers.require(request)
    size = asked.integer(request, "limit", 60, 1, _PAGE)
    label = asked.text(request, "label", "")
    where = asked.where(request)
    pager = client.images(label=label, where=where, order="id" if label else "spread", page_size=size)
    page = await anext(pager.pages(asked.text(request, "token", "")))
    return JSONResponse(
        {"images": image_rows(page.items), "total": page.total, "next": page.next_page_token, **served(page.served)}
    )


async def get_labels(request: Request) -> Response:
    """The labels by name, the first thousand where there are more, and how many there are."""
    client: Client = request.app.state.callers.require(request)
    page = await anext(client.labels(page_size=_LABELS).pages())
    return JSONResponse({"labels": [each._asdict() for each in page.items], "total": page.total})


async def get_image(request: Request) -> Response:
    """One image by `id` or `key`, with its cluster in every clustering."""
    client: Client = request.app.state.callers.require(request)
    if "key" in request.query_params:
        image = await client.lookup(key=asked.text(request, "key"))
    else:
        image = await client.lookup(id=asked.image_id(request))
    memberships = await _memberships(client, image.id, asked.integer(request, "members", 9, 0, 60))
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
    """Images as the page shows them."""
    return [{"id": each.id, "key": each.key, "label": each.label} for each in images]


def number(value: float) -> float | None:
    """A number for JSON, which has no NaN and no infinity."""
    return value if abs(value) < float("inf") else None


def served(what: Served) -> dict[str, Any]:
    """What served a reply, as the page's small print shows it."""
    return {"served": dataclasses.asdict(what)}


def clustering_of(collection: Collection, name: str) -> str:
    """The clustering meant: by name, or for "" the current one of the default space, or of any; "": there is none."""
    if name:
        return name
    spaces = sorted(collection.spaces, key=lambda each: each.name != collection.default_space)
    current = (each.default_clustering for each in spaces if each.default_clustering)
    # Servers of before 0.2 do not tell which is the current one.
    return next(current, collection.clusterings[0].name if collection.clusterings else "")
