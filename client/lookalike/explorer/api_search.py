"""Which stored images look like this one, and in which cluster is each of them?"""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import InvalidArgumentError, Neighbors
from lookalike.aio import Client
from lookalike.explorer import asked
from lookalike.explorer.api_collection import clustering_of, number, served

_MOST = 200
# The server has no filter by label, so this many times k are asked for and filtered here.
_FILTERED = 20
_LEAST_FILTERED = 500
_CLUSTERS_AT_ONCE = 128


async def get_search(request: Request) -> Response:
    """The neighbours of a stored image (`id`) or a dropped one (`picture`).

    k, space, recall, exact: as Client.search. label: keep only those, among
    more that are asked for; `looked_at` tells among how many, `matching` how
    many images there are to find. Fewer than min(k, matching) come only where
    the others are beyond the server's limit of neighbours. clustering: in which
    the cluster of each neighbour is told.
    """
    client: Client = request.app.state.callers.require(request)
    k = asked.integer(request, "k", 24, 1, _MOST)
    label = asked.text(request, "label", "")
    query = _query(request)
    options: dict[str, Any] = {"space": asked.text(request, "space", "")}
    if asked.flag(request, "exact"):
        options["exact"] = True
    elif recall := asked.share(request, "recall"):
        options["recall"] = recall
    collection = await client.info()
    if label:
        near, chosen, matching = await _labelled(request, client, collection.images, label, k, {**options, **query})
    else:
        near, matching = await client.search(k=k, **options, **query), None
        chosen = list(range(len(near)))
    clustering = clustering_of(collection, asked.text(request, "clustering", ""))
    clusters = await _clusters_of(client, near.ids[chosen].tolist(), clustering)
    return JSONResponse(
        {
            "neighbors": [_row(near, row, cluster) for row, cluster in zip(chosen, clusters, strict=True)],
            "clustering": clustering,
            "looked_at": len(near) if label else None,
            "matching": matching,
            **served(near.served),
        }
    )


async def _labelled(
    request: Request, client: Client, images: int, label: str, k: int, ask: dict[str, Any]
) -> tuple[Neighbors, list[int], int]:
    """Neighbours, the places of at most k with a label among them, and how many images with it there are to find."""
    state = request.app.state
    most = min((await state.about_server.get(client, state.bounds.experiment_s)).limits.max_k, images)
    matching = (await anext(client.images(label=label, page_size=1).pages())).total
    if "id" in ask:
        # A search by a stored image leaves that one out.
        matching -= (await client.lookup(id=ask["id"])).label == label
    wanted = min(max(k * _FILTERED, _LEAST_FILTERED), most)
    while True:
        near = await client.search(k=wanted, **ask)
        chosen = [row for row in range(len(near)) if near.labels[row] == label][:k]
        if len(chosen) >= min(k, matching) or wanted >= most:
            return near, chosen, matching
        wanted = most


def _query(request: Request) -> dict[str, Any]:
    given = request.query_params
    if ("id" in given) + ("picture" in given) != 1:
        raise InvalidArgumentError("Exactly one of id and picture says what is asked about.")
    if "id" in given:
        return {"id": asked.image_id(request)}
    return {"image": request.app.state.pictures.get(given["picture"])}


def _row(near: Neighbors, row: int, cluster: int | None) -> dict[str, Any]:
    return {
        "id": int(near.ids[row]),
        "key": near.keys[row],
        "label": near.labels[row],
        "distance": number(float(near.distances[row])),
        "cluster": cluster,
    }


async def _clusters_of(client: Client, ids: list[int], clustering: str) -> list[int | None]:
    """The cluster of each image; None where there is none."""
    if not clustering or not ids:
        return [None] * len(ids)
    found: list[int] = []
    for first in range(0, len(ids), _CLUSTERS_AT_ONCE):
        some = ids[first : first + _CLUSTERS_AT_ONCE]
        batch = await client.clusters(ids=some, clusterings=clustering, members=0)
        found += np.asarray(batch.clusters)[:, 0].tolist()
    return [cluster if cluster >= 0 else None for cluster in found]
