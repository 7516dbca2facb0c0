"""Leaks between splits: images of one split that have near-duplicates in another."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.near_duplicates import chosen_cut, graph_notes, near_pairs
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.view import View
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.text import counted, did_you_mean


def leaks(
    view: View, split: str, space: str = "", max_distance: float | None = None, limit: int | None = None
) -> Result:
    """List the pairs of near-duplicates in different splits, the nearest first; a `limit` of None lists all.

    `split` is a column: an attribute, "label", or another one that filters support. Images without a value are in no
    split. Near-duplicates are pairs of the graph up to `max_distance` (None: the valley, and similar hashes), and
    copies by digest.

    Tables: "splits", the images and the leaked images of each; "pairs_of_splits"; and "leaks", the pairs. Raise
    NotFoundError if the space or column does not exist. Raise NotBuiltError if there is no graph, or there are fewer
    than two splits. Raise UsageError for a negative distance, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: list at least one pair.")
    space, _ = view.reader.space(space)
    view.reader.graph(space)
    values = _values(view, split)
    names = sorted({value for value in values if value is not None})
    if len(names) < 2:
        raise NotBuiltError(
            f"The column {split!r} has {'one value' if names else 'no value'}; leaks are between at least two splits."
        )
    place = {name: at for at, name in enumerate(names)}
    codes = np.array([-1 if value is None else place[value] for value in values], np.int64)
    cut = chosen_cut(view, space, max_distance)
    pairs = near_pairs(view, space, cut)
    across = (codes[pairs.left] != codes[pairs.right]) & (codes[pairs.left] >= 0) & (codes[pairs.right] >= 0)
    order = np.flatnonzero(across)
    order = order[np.argsort(pairs.distances[order], kind="stable")]
    left, right = pairs.left[order], pairs.right[order]
    leaked = np.unique(np.concatenate([left, right]))
    table = pa.table(
        {
            "rank": np.arange(1, len(order) + 1, dtype=np.int64),
            "distance": pairs.distances[order],
            "exact": pairs.same_bytes[order],
            "by_hash": pairs.by_hash[order],
            **_side(view, "", left, codes, names),
            **_side(view, "other_", right, codes, names),
        }
    )
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    per_split = np.bincount(codes[leaked], minlength=len(names))
    splits = pa.table({"split": names, "images": sizes, "leaked": per_split, "share": per_split / sizes})
    figures = {
        "images": float((codes >= 0).sum()),
        "leaked": float(len(leaked)),
        "pairs": float(len(order)),
        "exact": float(pairs.same_bytes[order].sum()),
        "by_hash": float(pairs.by_hash[order].sum()),
        "max_distance": cut.distance,
        "depth": cut.depth,
    }
    settings: dict[str, Setting] = {
        "space": space,
        "split": split,
        "max_distance": "auto" if max_distance is None else max_distance,
        "limit": limit,
        "metric": view.reader.graph(space).metric,
    }
    between = _between(table)
    found = [
        f"{len(leaked):,} of {int(figures['images']):,} images have a near-duplicate in another split (column "
        f"{split}): {counted(len(order), 'pair')}; exact copies: {int(figures['exact']):,}.",
        cut.finding,
        *(
            f"{line['split']} and {line['other_split']} share {counted(line['pairs'], 'pair')}."
            for line in between.to_pylist()[:3]
        ),
    ]
    if figures["by_hash"]:
        found.append(
            f"Near-duplicates by perceptual hash alone (by_hash), which is not sure: {figures['by_hash']:,.0f}."
        )
    without = int((codes < 0).sum())
    if without:
        found.append(f"Left out: {counted(without, 'image')} without a value of {split}.")
    if limit is not None and limit < len(table):
        table = table.slice(0, limit)
        found.append(f"Listed are the {limit:,} nearest pairs.")
    notes = (*graph_notes(view, space), *untrained_notes(view, [space]))
    tables = {"splits": splits, "pairs_of_splits": between, "leaks": table}
    return Result("leaks", settings, tables, figures, (*found, *notes))


def _values(view: View, split: str) -> list[str | None]:
    columns = FilterColumns(view.reader, view.ids)
    if split not in columns.kinds:
        those = did_you_mean(split, columns.kinds, "it has")
        raise NotFoundError(
            f"The collection {view.reader.name} has no column {split!r}{those}; attach one with lookalike attach."
        )
    values = columns.column(split).take(np.arange(len(view))).to_pylist()
    return [None if value is None else _text(value) for value in values]


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _side(view: View, prefix: str, rows: np.ndarray, codes: np.ndarray, names: list[str]) -> dict[str, object]:
    return {
        f"{prefix}id": view.ids[rows],
        f"{prefix}key": pa.array(view.keys(rows), pa.string()),
        f"{prefix}split": pa.array([names[code] for code in codes[rows].tolist()], pa.string()),
    }


def _between(table: pa.Table) -> pa.Table:
    """Return how many pairs each two splits share, the most first."""
    sides = zip(table.column("split").to_pylist(), table.column("other_split").to_pylist(), strict=True)
    counts = Counter(tuple(sorted(pair)) for pair in sides)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return pa.table(
        {
            "split": pa.array([pair[0] for pair, _ in ordered], pa.string()),
            "other_split": pa.array([pair[1] for pair, _ in ordered], pa.string()),
            "pairs": pa.array([count for _, count in ordered], pa.int64()),
        }
    )
