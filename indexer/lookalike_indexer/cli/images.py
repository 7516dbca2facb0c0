"""The list of images in a folder that `lookalike images` prints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.text import did_you_mean

_EVERY = "*"


@reported
def images_of_folder(folder: str, label: str, where: str | None, fields: Sequence[str], limit: int) -> dict[str, Any]:
    """Return at most `limit` images of a collection by ascending id, and the total number of matching images.

    `where` is the text of a filter. `fields` are columns to add, "*" for all attributes.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.experiments.view import View
    from lookalike_indexer.filters.evaluate import matching
    from lookalike_indexer.filters.meaning import resolve_names
    from lookalike_indexer.filters.sources import FilterColumns
    from lookalike_indexer.filters.text import parse

    reader = CollectionReader.open(folder)
    table = reader.images(["id", "key", "label", "uri", "width", "height"])
    columns = FilterColumns(reader, table.column("id").to_numpy())
    keep = np.ones(len(table), np.bool_)
    if label:
        view = View(reader)
        label = view.label_names[view.label_code(label)]
        keep &= pc.equal(table.column("label"), label).fill_null(False).to_numpy()
    if where is not None:
        keep &= matching(resolve_names(parse(where), columns), columns)
    rows = np.flatnonzero(keep)
    found = table.take(pa.array(rows[:limit])).to_pylist()
    for name in _names(columns, fields):
        for row, value in zip(found, columns.column(name).take(rows[:limit]).to_pylist(), strict=True):
            # In UTC, as in a server's response.
            row[name] = value.replace(tzinfo=dt.UTC).isoformat() if isinstance(value, dt.datetime) else value
    return {"label": label or None, "where": where, "total": len(rows), "images": found}


def _names(columns: Any, fields: Sequence[str]) -> list[str]:
    """Return the requested columns without duplicates. Raise UsageError with the existing columns if one is unknown."""
    from lookalike_indexer.errors import UsageError

    asked: dict[str, None] = {}
    for name in fields:
        if name != _EVERY and name not in columns.kinds:
            raise UsageError(f"There is no column {name!r}{did_you_mean(name, columns.kinds, 'the columns are')}.")
        asked.update(dict.fromkeys(columns.attributes if name == _EVERY else [name]))
    return list(asked)
