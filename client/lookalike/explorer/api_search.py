"""Searches for similar images, with the cluster of each neighbor."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import Filter, InvalidArgumentError, Neighbors, UnimplementedError, column
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.api_collection import clustering_of, number, served

_MOST = 200


async def get_search(request: Request) -> Response:
    """Return the neighbors of a stored image (`id`), an uploaded image (`upload`), or a description (`text`).

    - k, space, recall, exact: as in Client.search.
    - label: only images with this label. `matching` is the number of these images; min(k, matching) are returned.
    - other: only images with another label than this.
    - where: only images that match; `served.plan` has the number of matches.
    - clustering: the clustering of the neighbors' clusters.
    """
    client: Client = request.app.state.callers.require(request)
    k = parameters.integer(request, "k", 24, 1, _MOST)
    label, other = parameters.text(request, "label", ""), parameters.text(request, "other", "")
    if label and other:
        raise InvalidArgumentError("Pass at most one of label and other.")
    query = _query(request)
    options: dict[str, Any] = {"space": parameters.text(request, "space", "")}
    if parameters.flag(request, "exact"):
        options["exact"] = True
    elif recall := parameters.share(request, "recall"):
        options["recall"] = recall
    options["where"] = parameters.where(request, label, other)
    words = parameters.filter_text(request)
    near = await client.search(k=k, **options, **query)
    collection = await client.info()
    clustering = clustering_of(collection, parameters.text(request, "clustering", ""))
    clusters = await _clusters_of(client, near.ids.tolist(), clustering)
    return JSONResponse(
        {
            "neighbors": [_row(near, row, cluster) for row, cluster in enumerate(clusters)],
            "metric": near.metric,
            "clustering": clustering,
            "matching": await _matching(client, near, query, label, words) if label else None,
            **served(near.served),
        }
    )


async def _matching(client: Client, near: Neighbors, query: dict[str, Any], label: str, words: str) -> int:
    """Return the number of images with a label that the search could find, without the query's own image."""
    if near.served.plan is None:
        raise UnimplementedError("This server is of a version that cannot search among the images with a label.")
    own = "id" in query and (await client.lookup(id=query["id"])).label == label
    if own and words:
        where = Filter(words) & (column("id") == query["id"])
        own = (await anext(client.images(where=where, page_size=1).pages())).total == 1
    return near.served.plan.matches - own


def _query(request: Request) -> dict[str, Any]:
    given = request.query_params
    if ("id" in given) + ("upload" in given) + ("text" in given) != 1:
        raise InvalidArgumentError("Pass exactly one of id, upload and text.")
    if "text" in given:
        return {"text": parameters.text(request, "text")}
    if "id" in given:
        return {"id": parameters.image_id(request)}
    return {"image": request.app.state.uploads.get(given["upload"])}


def _row(near: Neighbors, row: int, cluster: int | None) -> dict[str, Any]:
    return {
        "id": int(near.ids[row]),
        "key": near.keys[row],
        "label": near.labels[row],
        "distance": number(float(near.distances[row])),
        "cluster": cluster,
    }


async def _clusters_of(client: Client, ids: list[int], clustering: str) -> list[int | None]:
    """Return the cluster of each image; None if it has none."""
    if not clustering or not ids:
        return [None] * len(ids)
    batch = await client.membership(ids=ids, clusterings=clustering, members=0)
    found: list[int] = np.asarray(batch.clusters)[:, 0].tolist()
    return [cluster if cluster >= 0 else None for cluster in found]
