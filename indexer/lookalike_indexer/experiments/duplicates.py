"""Groups of near-duplicates, and the image of each group to keep."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import UsageError
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


def duplicates(
    view: View,
    space: str = "",
    max_distance: float | None = None,
    *,
    exact_bytes: bool = False,
    limit: int | None = None,
) -> Result:
    """Group near-duplicates: connected components of the pairs up to `max_distance`, None for the valley.

    The image to keep of a group is the largest picture, and the one of the lowest id among equals. Copies by digest
    are in one group at any distance; with `exact_bytes` only they are, and no graph is needed.

    Tables: "groups", the `limit` largest, largest first, and "images", those of these groups, the one to keep first in
    each. `distance` is the smallest to another image of the group. `exact` says that a file has the bytes of the one to
    keep. Figures are of all groups.

    NotFoundError: no such space. NotBuiltError: no graph. UsageError: a negative distance, or a limit below 1.
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
    tables = _tables(view, pairs)
    groups = tables["groups"]
    grouped, count = tables["images"].num_rows, groups.num_rows
    figures = {
        "images": float(len(view)),
        "groups": float(count),
        "grouped": float(grouped),
        "to_delete": float(grouped - count),
        "exact": float(sum(tables["images"].column("exact").to_pylist())),
        "pairs": float(len(pairs)),
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
    """UsageError: the distance is that of a valley that is not deep enough to delete images by."""
    if not result.figures["depth"] >= FAIRLY_SURE:
        raise UsageError(
            f"{result.findings[1]} That is not sure enough to delete images: look at them with --out DIR and name the "
            "distance with --max-distance D, or take copies alone with --exact-bytes."
        )


def _findings(figures: dict[str, float], cut: Cut) -> tuple[str, ...]:
    found = [
        f"{figures['grouped']:,.0f} of {figures['images']:,.0f} images are in {figures['groups']:,.0f} groups of "
        f"duplicates: {figures['to_delete']:,.0f} can go, of which {figures['exact']:,.0f} are exact copies.",
        cut.finding,
    ]
    if figures["groups"]:
        found.append("The one to keep of each group is the largest picture, and the first among equals.")
    return tuple(found)


def _tables(view: View, pairs: Pairs) -> dict[str, pa.Table]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.unique(np.concatenate([pairs.left, pairs.right]))
    left, right = np.searchsorted(rows, pairs.left), np.searchsorted(rows, pairs.right)
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(rows), len(rows)))
    count, group = connected_components(edges, directed=False) if len(rows) else (0, np.empty(0, np.int32))
    sizes = np.bincount(group, minlength=count)
    firsts = np.full(count, len(view), np.int64)
    np.minimum.at(firsts, group, rows)
    # The largest group first; among equals the one of the first image.
    rank = np.empty(count, np.int64)
    rank[np.lexsort((firsts, -sizes))] = np.arange(count)
    images = view.reader.images(["width", "height", "bytes"])
    widths, heights, lengths = (images.column(name).to_numpy()[rows] for name in ("width", "height", "bytes"))
    area = widths.astype(np.int64) * heights
    order = np.lexsort((rows, -area, rank[group]))
    rows_of, groups = rows[order], rank[group][order]
    kept = np.r_[True, groups[1:] != groups[:-1]] if len(order) else np.empty(0, np.bool_)
    codes = digest_codes(view)[rows_of]
    keepers = np.flatnonzero(kept)
    same = (codes == np.repeat(codes[keepers], np.sort(sizes)[::-1])) & (codes >= 0) & ~kept
    apart = _smallest(rows, pairs)[order]
    images_table = pa.table(
        {
            "group": groups + 1,
            "id": view.ids[rows_of],
            "key": pa.array(view.keys(rows_of), pa.string()),
            "label": pa.array(view.label_texts(rows_of), pa.string()),
            "width": widths[order],
            "height": heights[order],
            "bytes": lengths[order],
            "keep": kept,
            "exact": same,
            "distance": apart,
        }
    )
    return {"groups": _groups(images_table, keepers, np.sort(sizes)[::-1]), "images": images_table}


def _groups(images: pa.Table, keepers: Int64, sizes: Int64) -> pa.Table:
    starts = keepers.tolist()
    distances = images.column("distance").to_numpy()
    exact = images.column("exact").to_numpy().astype(np.int64)
    return pa.table(
        {
            "group": np.arange(1, len(starts) + 1, dtype=np.int64),
            "images": sizes.astype(np.int64),
            "exact": np.add.reduceat(exact, starts) if starts else np.empty(0, np.int64),
            "farthest": np.maximum.reduceat(distances, starts) if starts else np.empty(0, np.float32),
            "keep": images.column("key").take(pa.array(starts, pa.int64())),
        }
    )


def _smallest(rows: Int64, pairs: Pairs) -> np.ndarray:
    """The smallest distance of each image to another one of its group."""
    out = np.full(len(rows), np.inf, np.float32)
    for side in (pairs.left, pairs.right):
        np.minimum.at(out, np.searchsorted(rows, side), pairs.distances)
    return out
