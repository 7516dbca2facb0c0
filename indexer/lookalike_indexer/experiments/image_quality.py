"""Quality flags of images: counts and lists of dark, bright, blurry, uniform, tiny or oddly shaped ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Float64, Int64
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View
from lookalike_indexer.quality.flags import FLAGS, TABLE, Flag, check_flag


def image_quality(view: View, flag: str = "", limit: int = 40, where: str = "") -> Result:
    """List the images with quality flags, the most extreme of each flag first: `limit` of one flag, or of each.

    The flags are those that `lookalike quality` measured; see `quality.flags`. With a filter, `where`, only matching
    images are counted and listed.

    Tables: "flags", for each flag its rule, images and share of the measured images; and "images", with the `value`
    that decides the flag. Raise NotBuiltError if nothing was measured. Raise NotFoundError if the flag does not exist.
    Raise UsageError if the limit is below 1. Raise FilterError if `where` is not a valid filter.
    """
    check_flag(flag)
    if limit < 1:
        raise UsageError(f"--limit {limit}: list at least one image of a flag.")
    entry = view.reader.manifest.attributes.get(TABLE)
    again = command("quality", view.reader.storage.location)
    if entry is None:
        raise NotBuiltError(f"The images of {view.reader.name} have no quality flags; measure them with: {again}")
    stored = _stored(view, entry.parts)
    counted = _selected(view, where) & stored["measured"]
    wanted = [FLAGS[flag]] if flag else list(FLAGS.values())
    measured = int(counted.sum())
    holds = {one.name: np.flatnonzero(stored[one.name].astype(bool) & counted) for one in wanted}
    flags = {
        "flag": [one.name for one in wanted],
        "rule": [one.rule for one in wanted],
        "images": [len(holds[one.name]) for one in wanted],
        "share": [len(holds[one.name]) / max(1, measured) for one in wanted],
    }
    images = pa.concat_tables([_images(view, one, holds[one.name], stored[one.measure], limit) for one in wanted])
    flagged = len(np.unique(np.concatenate(list(holds.values()))))
    unmeasured = int((_selected(view, where) & ~stored["measured"]).sum())
    figures = {"images": float(measured), "flagged": float(flagged), "unmeasured": float(unmeasured)}
    counts = ", ".join(f"{one.name.replace('_', ' ')} {len(holds[one.name]):,}" for one in wanted)
    found = [f"{flagged:,} of {measured:,} images have a quality flag: {counts}."]
    if unmeasured:
        found.append(f"{unmeasured:,} images have no measures, because they are new or unreadable; go on with: {again}")
    if any(len(rows) > limit for rows in holds.values()):
        found.append(f"Listed are the {limit:,} most extreme of each flag.")
    settings: dict[str, Setting] = {"flag": flag, "limit": limit, "where": where}
    return Result("image_quality", settings, {"flags": pa.table(flags), "images": images}, figures, tuple(found))


def _selected(view: View, where: str) -> Bools:
    matching = view.matching(where)
    return np.ones(len(view), np.bool_) if matching is None else matching


def _stored(view: View, parts: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the measures (NaN if missing) and flags by name, aligned to the images, and which images are measured."""
    sizes = view.reader.images(["width", "height"])
    width, height = (sizes.column(name).to_numpy().astype(np.int64) for name in ("width", "height"))
    short = np.minimum(width, height)
    out: dict[str, npt.NDArray[Any]] = {
        "measured": np.zeros(len(view), np.bool_),
        "shorter_side": short,
        "aspect": np.maximum(width, height) / np.maximum(1, short),
        **{name: np.zeros(len(view), np.bool_) for name in FLAGS},
        **{flag.measure: np.full(len(view), np.nan) for flag in FLAGS.values() if flag.measure not in _OF_SIZE},
    }
    names = [name for name in out if name not in ("measured", *_OF_SIZE)]
    for path in parts:
        table = read_part(view.reader.storage, path, ["id", *names])
        ids = table.column("id").to_numpy()
        # A deleted image may still be in the table.
        there = np.flatnonzero(np.isin(ids, view.ids))
        rows = view.rows_of_ids(ids[there])
        for name in names:
            column = table.column(name).take(pa.array(there))
            if name in FLAGS:
                out["measured"][rows] = column.is_valid().to_numpy()
                out[name][rows] = column.fill_null(False).to_numpy()
            else:
                out[name][rows] = column.to_numpy()
    return out


_OF_SIZE = ("shorter_side", "aspect")


def _images(view: View, flag: Flag, rows: Int64, values: npt.NDArray[Any], limit: int) -> pa.Table:
    value: Float64 = values[rows].astype(np.float64)
    order = np.lexsort((rows, value if flag.lowest_first else -value))[:limit]
    listed = rows[order]
    return pa.table(
        {
            "flag": pa.array([flag.name] * len(listed), pa.string()),
            "rank": np.arange(1, len(listed) + 1, dtype=np.int64),
            "id": view.ids[listed],
            "key": pa.array(view.keys(listed), pa.string()),
            "label": pa.array(view.label_texts(listed), pa.string()),
            "value": value[order],
        }
    )
