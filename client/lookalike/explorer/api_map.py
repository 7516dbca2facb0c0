"""The 2-D map of a collection as columns of bytes, which a page with 100,000 points reads at once.

A reply is the length of a JSON header (uint32), the header, and the columns it
names, each little-endian and aligned to 8 bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response

from lookalike import NotFoundError
from lookalike.aio import Client
from lookalike.explorer import asked

Array = npt.NDArray[Any]

# Which table of a stored result has the places of the images, by the result's kind.
_TABLES: Final = {"map": "points", "evolution": "map"}
_NO_MAP: Final = "This collection has no 2-D map yet; make one with: lookalike map --collection DIR"


async def get_map(request: Request) -> Response:
    """The stored map `name`, such as "map/umap"; the first one when it is empty."""
    client: Client = request.app.state.callers.require(request)
    there = {each.name: each for each in await client.results() if each.kind in _TABLES}
    if not there:
        raise NotFoundError(_NO_MAP)
    # Those of kind "map" first: an evolution has maps besides.
    names = sorted(there, key=lambda name: (there[name].kind != "map", name))
    name = asked.text(request, "name", "") or names[0]
    if name not in there:
        raise NotFoundError(f"This collection has no map {name!r}; it has: {', '.join(names)}.")
    table = _TABLES[there[name].kind]
    found = await client.result(name, tables=table, timeout=request.app.state.bounds.experiment_s)
    columns, categories = map_columns(found.tables[table])
    header = {
        "name": name,
        "maps": names,
        "settings": dict(found.settings),
        "categories": categories,
        "out_of_date": found.out_of_date,
    }
    return Response(pack(header, columns), media_type="application/octet-stream")


def map_columns(table: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """The columns of a map's points for the page: numbers as they are, texts as codes into `categories`."""
    columns: dict[str, Array] = {}
    categories: dict[str, list[str]] = {}
    for name, values in table.items():
        array = np.asarray(values)
        if array.dtype.kind in "iu":
            # Ids above 2**53 are beyond a page's numbers; those of a collection count from 0.
            columns[name] = array.astype(np.float64 if array.dtype.itemsize == 8 else np.int32)
        elif array.dtype.kind == "f":
            columns[name] = array.astype(np.float32)
        else:
            # In the order in which they occur, which is that of the steps of an evolution.
            codes: dict[str, int] = {}
            texts = ["" if each is None else str(each) for each in values]
            columns[name] = np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32)
            categories[name] = list(codes)
    return columns, categories


def pack(header: Mapping[str, Any], columns: Mapping[str, Array]) -> bytes:
    """The reply's bytes."""
    described, parts, at = {}, [], 0
    for name, values in columns.items():
        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        described[name] = {"dtype": values.dtype.name, "offset": at, "length": len(values)}
        data += bytes(-len(data) % 8)
        parts.append(data)
        at += len(data)
    text = json.dumps({**header, "columns": described}).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return b"".join([struct.pack("<I", len(text)), text, *parts])
