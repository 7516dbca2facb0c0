"""Changes of a view in the form that the indexer folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from lookalike_indexer.upkeep import fold
from lookalike_server.live.changes import Time, Values, arrow
from lookalike_server.live.snapshot import LiveSnapshot


def changes_of(view: LiveSnapshot) -> fold.Changes:
    """Return all differences between a view and its generation. Takes time, so do not call it on the event loop."""
    columns, base = view.columns, view.base
    first = len(base.columns.ids)
    alive = columns.alive
    rows = np.arange(first, len(columns.ids), dtype=np.int64)
    said = view.said
    new = fold.NewImages(
        ids=columns.ids[first:],
        alive=alive[first:],
        keys=columns.keys(rows),
        labels=columns.labels(rows),
        vectors={name: space.new_vectors for name, space in view.spaces.items()},
        formats=[view.format_of(row) for row in rows.tolist()],
        bytes=np.array([view.bytes_of(row) for row in rows.tolist()], np.int64),
        widths=columns.widths(rows).astype(np.int64),
        heights=columns.heights(rows).astype(np.int64),
        attributes=_arrays(view, [said.get(row, {}) for row in rows.tolist()]),
        uris=[view.uri_of(row) for row in rows.tolist()],
        classes={model: (columns.ids[one.rows], one.classes) for model, one in view.predictions.items()},
    )
    gone = np.flatnonzero(~alive)
    keys = columns.keys(gone)
    replaced = np.array([columns.row_of_key(key) is not None for key in keys], np.bool_)
    codes, _ = base.columns.label_codes
    relabeled = np.flatnonzero(alive[:first] & (columns.label_codes[0][:first] != codes))
    return fold.Changes(
        sequence=view.sequence,
        new=new,
        gone={"replaced": columns.ids[gone[replaced]], "deleted": columns.ids[gone[~replaced]]},
        labels=dict(zip(columns.ids[relabeled].tolist(), columns.labels(relabeled), strict=True)),
        attributes={
            int(columns.ids[row]): {name: _plain(value) for name, value in values.items()}
            for row, values in said.items()
            if row < first and alive[row] and values
        },
    )


def _arrays(view: LiveSnapshot, rows: list[Values]) -> dict[str, pa.Array]:
    names = dict.fromkeys(name for row in rows for name in row)
    kinds = view.filters.columns.kinds
    return {name: arrow(kinds[name], [row.get(name) for row in rows]) for name in names if name in kinds}


def _plain(value: Any) -> Any:
    """Return a value in the form that Arrow takes."""
    if isinstance(value, Time):
        return np.datetime64(value.microseconds, "us")
    return list(value) if isinstance(value, tuple) else value
