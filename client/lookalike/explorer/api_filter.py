"""Data of the filter bar: columns with suggested values, the number of matches, and the matching ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import Collection, InvalidArgumentError, StoredImages
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.api_collection import served
from lookalike.explorer.api_map import pack
from lookalike.explorer.tag import tag_of

# The columns of every image; see docs/filters.md.
_OF_IMAGES: Final = {
    "label": "string",
    "key": "string",
    "id": "int64",
    "width": "int64",
    "height": "int64",
    "bytes": "int64",
    "format": "string",
}
# Columns whose values are suggested, besides attributes; labels have a list of their own.
_SAMPLED: Final = ("width", "height", "bytes", "format")
_SAMPLE: Final = 500
_MOST_COLUMNS: Final = 64
_MOST_VALUES: Final = 40
_LONGEST_VALUE: Final = 120
_PAGE: Final = 1000


async def get_columns(request: Request) -> Response:
    """Return the columns that a filter may name: name, type, values.

    `values` are the most frequent values of the first `sampled` images in mixed order; for numbers and times, the
    minimum and maximum. `clusterings` and `models` are names for cluster('...') and predicted('...').
    """
    client: Client = request.app.state.callers.require(request)
    collection = await client.info()
    wanted = (tag_of(collection), "columns", "")
    held = request.app.state.colors
    told: bytes | None = held.get(wanted)
    if told is None:
        told = json.dumps(await _columns(client, collection)).encode()
        held.put(wanted, told)
    return Response(told, media_type="application/json")


async def get_matches(request: Request) -> Response:
    """Return the exact number of images that match `where`, and the number of all images."""
    client: Client = request.app.state.callers.require(request)
    page = await anext(client.images(where=parameters.where(request), page_size=1).pages())
    collection = await client.info()
    return JSONResponse({"matches": page.total, "images": collection.images, **served(page.served)})


async def get_matching(request: Request) -> Response:
    """Return the ids of the images that match `where`, ascending, as the column id."""
    client: Client = request.app.state.callers.require(request)
    where = parameters.where(request)
    wanted = (tag_of(await client.info()), "where", parameters.filter_text(request))
    held = request.app.state.colors
    packed: bytes | None = held.get(wanted)
    if packed is None:
        ids = [page.items.ids async for page in client.images(where=where, page_size=_PAGE).pages()]
        packed = pack({}, {"id": np.concatenate(ids).astype(np.float64) if ids else np.zeros(0)})
        held.put(wanted, packed)
    return Response(packed, media_type="application/octet-stream")


async def _columns(client: Client, collection: Collection) -> dict[str, Any]:
    kinds = {**{each.name: each.type for each in collection.attributes}, **_OF_IMAGES}
    names = [*[each.name for each in collection.attributes][:_MOST_COLUMNS], *_SAMPLED]
    page = await _sample(client, names)
    values = {} if page is None else {name: _suggested(page.attributes.get(name, ())) for name in names}
    return {
        "columns": [{"name": name, "type": kind, "values": values.get(name, [])} for name, kind in kinds.items()],
        "sampled": 0 if page is None else len(page),
        "clusterings": [each.name for each in collection.clusterings],
        "models": sorted({each.model for each in collection.spaces}),
    }


async def _sample(client: Client, names: list[str]) -> StoredImages | None:
    """Return images in mixed order with their values; None if the values exceed the size of a message."""
    try:
        page = await anext(client.images(order="spread", fields=names, page_size=_SAMPLE).pages())
    except InvalidArgumentError:
        return None
    return page.items


def _suggested(values: Sequence[Any]) -> list[Any]:
    there = [value for value in values if value is not None]
    if not there:
        return []
    if isinstance(there[0], (int, float, datetime)) and not isinstance(there[0], bool):
        return [_json_value(value) for value in dict.fromkeys((min(there), max(there)))]
    each = [text for value in there for text in value] if isinstance(there[0], tuple) else there
    short = Counter(value for value in each if not isinstance(value, str) or len(value) <= _LONGEST_VALUE)
    return [value for value, _ in short.most_common(_MOST_VALUES)]


def _json_value(value: float | datetime) -> Any:
    return value.date().isoformat() if isinstance(value, datetime) else value
