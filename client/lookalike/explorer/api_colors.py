"""Category of each image for the colors of a map: its label, or its cluster in a clustering."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response

from lookalike import InvalidArgumentError
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.api_map import pack
from lookalike.explorer.tag import tag_of

_PAGE: Final = 1000
# Number of clusters that are read concurrently.
_AT_ONCE: Final = 4

Columns = dict[str, npt.NDArray[Any]]


async def get_colors(request: Request) -> Response:
    """Return the columns id and code of all images; `by` is "label", or "cluster" with a `clustering`."""
    client: Client = request.app.state.callers.require(request)
    by, clustering = parameters.text(request, "by", "label"), parameters.text(request, "clustering", "")
    # This call also checks that the caller is allowed.
    wanted = (tag_of(await client.info()), by, clustering)
    held = request.app.state.colors
    packed: bytes | None = held.get(wanted)
    if packed is None:
        if by == "label":
            columns, categories = await _labels(client)
        elif by == "cluster":
            columns, categories = await _clusters(client, clustering), {}
        else:
            raise InvalidArgumentError(f"by={by!r} must be label or cluster.")
        packed = pack({"by": by, "clustering": clustering, "categories": categories}, columns)
        held.put(wanted, packed)
    return Response(packed, media_type="application/octet-stream")


async def _labels(client: Client) -> tuple[Columns, dict[str, list[str]]]:
    """Return the label of each image as a code into the sorted names; -1 without a label."""
    codes: dict[str, int] = {}
    ids: list[npt.NDArray[np.int64]] = []
    found: list[int] = []
    async for page in client.images(page_size=_PAGE).pages():
        ids.append(page.items.ids)
        found += [-1 if label is None else codes.setdefault(label, len(codes)) for label in page.items.labels]
    # Sorted by name, so that labels of equal frequency get the same colors as in charts.
    names = sorted(codes)
    places = np.full(len(codes) + 1, -1, np.int32)
    places[[codes[name] for name in names]] = np.arange(len(names))
    return _columns(ids, places[np.array(found, np.int64)]), {"code": names}


async def _clusters(client: Client, clustering: str) -> Columns:
    """Return the cluster of each image that has one."""
    at_once = asyncio.Semaphore(_AT_ONCE)
    ids: list[npt.NDArray[np.int64]] = []
    found: list[int] = []

    async def read(cluster: int) -> None:
        async with at_once:
            async for page in client.members(clustering, cluster, page_size=_PAGE).pages():
                ids.append(page.items.ids)
                found.extend([cluster] * len(page.items))

    clusters = await client.list_clusters(clustering)
    await asyncio.gather(*(read(each.cluster) for each in clusters if each.size))
    return _columns(ids, found)


def _columns(ids: list[npt.NDArray[np.int64]], codes: Sequence[int] | npt.NDArray[np.int32]) -> Columns:
    return {
        "id": np.concatenate(ids).astype(np.float64) if ids else np.zeros(0),
        "code": np.asarray(codes, np.int32),
    }
