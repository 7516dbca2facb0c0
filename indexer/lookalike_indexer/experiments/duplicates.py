"""Groups of near-duplicates, and the image of each group to keep."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.duplicate_groups import Groups, grouped
from lookalike_indexer.experiments.near_duplicates import (
    Cut,
    Pairs,
    chosen_cut,
    copied_pairs,
    digest_codes,
    graph_notes,
    near_pairs,
)
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.valley import FAIRLY_SURE
from lookalike_indexer.experiments.view import View
from lookalike_indexer.text import counted


def duplicates(
    view: View,
    space: str = "",
    max_distance: float | None = None,
    *,
    exact_bytes: bool = False,
    limit: int | None = None,
) -> Result:
    """Group near-duplicates: connected components of the pairs up to `max_distance`, None for the valley.

    With None and hashes of `lookalike quality`, similar hashes join images to the one to keep (`alike_hashes`). The
    image to keep is the largest of a group, and the one with the lowest id among equals. Copies by digest are in one
    group at any distance; `exact_bytes` groups only them, without a graph.

    Tables: "groups", the `limit` largest, largest first, and "images", those of these groups, with the one to keep
    first in each. `distance` is the smallest to another image of the group. `exact` means that a file has the bytes of
    the one to keep, `by_hash` that only a hash joins an image to its group. Figures cover all groups. Raise
    NotFoundError if the space does not exist. Raise NotBuiltError if there is no graph. Raise UsageError for a negative
    distance, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: list at least one group.")
    space, _ = view.reader.space(space)
    notes: tuple[str, ...] = ()
    if exact_bytes:
        cut = Cut(0.0, float("nan"), "Duplicates are files of the same bytes.")
        pairs = copied_pairs(view)
    else:
        view.reader.graph(space)
        cut = chosen_cut(view, space, max_distance)
        pairs = near_pairs(view, space, cut)
        notes = (*graph_notes(view, space), *untrained_notes(view, [space]))
    pixels = view.reader.images(["width", "height"])
    areas = pixels.column("width").to_numpy().astype(np.int64) * pixels.column("height").to_numpy()
    groups = grouped(pairs, areas)
    tables = _tables(view, groups)
    members, count = len(groups.rows), len(groups.sizes)
    figures = {
        "images": float(len(view)),
        "groups": float(count),
        "grouped": float(members),
        "to_delete": float(members - count),
        "exact": float(sum(tables["images"].column("exact").to_pylist())),
        "by_hash": float(groups.by_hash.sum()),
        "pairs": float(len(groups.pairs)),
        "max_distance": cut.distance,
        "depth": cut.depth,
    }
    settings: dict[str, Setting] = {
        "space": space,
        "max_distance": "auto" if max_distance is None else max_distance,
        "exact_bytes": exact_bytes,
        "limit": limit,
        **({} if exact_bytes else {"metric": view.reader.graph(space).metric}),
    }
    found = _findings(figures, cut)
    if limit is not None and limit < count:
        tables = {name: table.filter(pc.field("group") <= limit) for name, table in tables.items()}
        found = (*found, f"Listed are the {limit:,} largest groups.")
    return Result("duplicates", settings, tables, figures, (*found, *notes))


def check_sure(result: Result) -> None:
    """Raise UsageError if the valley is too shallow to delete images by its distance, or if hashes join images.

    Hashes are weak evidence: they are also similar if an image is slightly rotated, or one object in it moved.
    """
    named = "look at them with --out DIR and name the distance with --max-distance D, or take copies alone with "
    if not result.figures["depth"] >= FAIRLY_SURE:
        raise UsageError(f"{result.findings[1]} That is not sure enough to delete images: {named}--exact-bytes.")
    by_hash = int(result.figures["by_hash"])
    if by_hash:
        images = "1 image is in its group" if by_hash == 1 else f"{by_hash:,} images are in their groups"
        raise UsageError(
            f"{images} by perceptual hash alone, which is not sure enough to delete images: {named}--exact-bytes. The "
            f"distance of auto, without hashes, is {result.figures['max_distance']:.4g}."
        )


def _findings(figures: dict[str, float], cut: Cut) -> tuple[str, ...]:
    found = [
        f"{figures['grouped']:,.0f} of {figures['images']:,.0f} images are in "
        f"{counted(int(figures['groups']), 'group')} of duplicates: {figures['to_delete']:,.0f} can go; "
        f"exact copies: {figures['exact']:,.0f}.",
        cut.finding,
    ]
    if figures["by_hash"]:
        found.append(
            f"{figures['by_hash']:,.0f} of the images are in their groups by perceptual hash alone (by_hash), which is "
            "not sure: look at them before you delete."
        )
    if figures["groups"]:
        found.append("The one to keep of each group is the largest image, and the first among equals.")
    return tuple(found)


def _tables(view: View, groups: Groups) -> dict[str, pa.Table]:
    rows = groups.rows
    images = view.reader.images(["width", "height", "bytes"])
    codes = digest_codes(view)[rows]
    keepers = np.flatnonzero(groups.keep)
    same = (codes == np.repeat(codes[keepers], groups.sizes)) & (codes >= 0) & ~groups.keep
    images_table = pa.table(
        {
            "group": groups.group + 1,
            "id": view.ids[rows],
            "key": pa.array(view.keys(rows), pa.string()),
            "label": pa.array(view.label_texts(rows), pa.string()),
            **{name: images.column(name).to_numpy()[rows] for name in ("width", "height", "bytes")},
            "keep": groups.keep,
            "exact": same,
            "by_hash": groups.by_hash,
            "distance": _smallest(rows, groups.pairs),
        }
    )
    return {"groups": _groups(images_table, keepers, groups.sizes), "images": images_table}


def _groups(images: pa.Table, keepers: Int64, sizes: Int64) -> pa.Table:
    starts = keepers.tolist()
    distances = images.column("distance").to_numpy()
    counted = {name: images.column(name).to_numpy().astype(np.int64) for name in ("exact", "by_hash")}
    return pa.table(
        {
            "group": np.arange(1, len(starts) + 1, dtype=np.int64),
            "images": sizes.astype(np.int64),
            **{
                name: np.add.reduceat(each, starts) if starts else np.empty(0, np.int64)
                for name, each in counted.items()
            },
            "farthest": np.maximum.reduceat(distances, starts) if starts else np.empty(0, np.float32),
            "keep": images.column("key").take(pa.array(starts, pa.int64())),
        }
    )


def _smallest(rows: Int64, pairs: Pairs) -> np.ndarray:
    """Return the smallest distance of each image to another one of its group."""
    order = np.argsort(rows)
    out = np.full(len(rows), np.inf, np.float32)
    for side in (pairs.left, pairs.right):
        np.minimum.at(out, order[np.searchsorted(rows, side, sorter=order)], pairs.distances)
    return out
