"""Clusters of a clustering, and the members of a cluster."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import NotFoundError
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.api_collection import clustering_of, number, served

_PAGE = 200


async def get_clusters(request: Request) -> Response:
    """Return the clusters of a `clustering` with sizes and mean distances; with `where`, of matching members."""
    client: Client = request.app.state.callers.require(request)
    name = clustering_of(await client.info(), parameters.text(request, "clustering", ""))
    if not name:
        raise NotFoundError("This collection has no clustering yet; make one with: lookalike cluster DIR")
    found = await client.list_clusters(name, where=parameters.where(request))
    rows = [{"cluster": each.cluster, "size": each.size, "mean_distance": number(each.mean_distance)} for each in found]
    return JSONResponse({"clustering": name, "metric": found.metric, "clusters": rows, **served(found.served)})


async def get_members(request: Request) -> Response:
    """Return a page of a cluster's members, nearest to its centroid first, all or those that match `where`.

    `label`: only members with this label. `token`: the `next` of the previous page.
    """
    client: Client = request.app.state.callers.require(request)
    clustering = parameters.text(request, "clustering")
    cluster = parameters.integer(request, "cluster", None, 0, 2**31 - 1)
    size = parameters.integer(request, "limit", 60, 1, _PAGE)
    where = parameters.where(request, parameters.text(request, "label", ""))
    pager = client.members(clustering, cluster, where=where, page_size=size)
    page = await anext(pager.pages(parameters.text(request, "token", "")))
    rows = [
        {
            "id": each.id,
            "key": each.key,
            "label": each.label,
            "distance": number(each.distance),
            "margin": number(each.margin),
        }
        for each in page.items
    ]
    about = {"metric": page.items.metric, **served(page.served)}
    return JSONResponse({"members": rows, "total": page.total, "next": page.next_page_token, **about})
