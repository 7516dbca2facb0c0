"""2-D map of a collection as binary columns, which a page with 100,000 points reads at once.

A reply is the length of a JSON header (uint32), the header, and the columns that the
header names, each little-endian and aligned to 8 bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response

from lookalike import NotFoundError, ProtocolError, StoredResult
from lookalike.aio import Client
from lookalike.explorer import parameters

Array = npt.NDArray[Any]

# Kinds of stored results that have a table "map" with places of images.
_KINDS: Final = ("map", "evolution")
_TABLE: Final = "map"
_NO_MAP: Final = "This collection has no 2-D map yet; make one with: lookalike map --collection DIR"


async def get_map(request: Request) -> Response:
    """Return the stored map `name`, such as "map/umap"; the first of `map_names` if empty."""
    client: Client = request.app.state.callers.require(request)
    names = map_names(await client.results())
    if not names:
        raise NotFoundError(_NO_MAP)
    name = parameters.text(request, "name", "") or names[0]
    if name not in names:
        raise NotFoundError(f"This collection has no map {name!r}; it has: {', '.join(names)}.")
    found = await client.result(name, tables=_TABLE, timeout=request.app.state.bounds.experiment_s)
    columns, categories = map_columns(found.tables[_TABLE])
    header = {
        "name": name,
        "maps": names,
        "settings": dict(found.settings),
        "categories": categories,
        "out_of_date": found.out_of_date,
    }
    return Response(pack(header, columns), media_type="application/octet-stream")


def map_names(stored: Iterable[StoredResult]) -> list[str]:
    """Return the names of the results that place images.

    Maps come first, because evolutions have maps, too. Maps by PCA come last, because PCA does not keep neighbors
    together.
    """
    there = [each for each in stored if each.kind in _KINDS]
    there.sort(key=lambda each: (each.kind != "map", each.settings.get("method") == "pca", each.name))
    return [each.name for each in there]


def map_columns(table: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """Convert the columns of a map's points; ProtocolError if they have no places.

    - x, y: float32; id: float64, which is exact up to 2**53.
    - other whole numbers, such as clusters: int32.
    - texts: int32 codes into the returned categories, which are sorted by name; the steps of an evolution stay in
      order of occurrence.

    -1 stands for no value. Columns of other types are left out.
    """
    if not {"id", "x", "y"} <= set(table):
        raise ProtocolError(f"This map has no places that can be drawn; its columns are {', '.join(table)}.")
    columns: dict[str, Array] = {}
    categories: dict[str, list[str]] = {}
    for name, values in table.items():
        if name in ("id", "x", "y"):
            columns[name] = np.asarray(values, np.float64 if name == "id" else np.float32)
        elif isinstance(values, np.ndarray):
            if values.ndim == 1 and (whole := _whole(values)) is not None:
                columns[name] = whole
        elif all(each is None or isinstance(each, str) for each in values):
            found = dict.fromkeys(each for each in values if each)
            # Sorted by name, so that categories of equal frequency get the same colors as in charts.
            codes = {each: code for code, each in enumerate(found if name == "step" else sorted(found))}
            columns[name] = np.array([codes[each] if each else -1 for each in values], np.int32)
            categories[name] = list(codes)
    return columns, categories


def _whole(values: Array) -> npt.NDArray[np.int32] | None:
    """Return whole numbers as int32, -1 for NaN; None if some are fractional or too large."""
    there = np.isfinite(values)
    if (values[there] != np.round(values[there])).any() or (np.abs(values[there]) >= 2**31).any():
        return None
    return np.where(there, values, -1).astype(np.int32)


def pack(header: Mapping[str, Any], columns: Mapping[str, Array]) -> bytes:
    """Encode the reply."""
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
