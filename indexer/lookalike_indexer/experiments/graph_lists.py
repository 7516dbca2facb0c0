"""Nearest neighbors of some images in the stored graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lookalike_indexer.collection.commands import graph_command
from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.experiments.near_duplicates import graph_notes
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View


def graph_lists(view: View, keys: Sequence[str], space: str = "", k: int | None = None) -> Result:
    """Return the lists of the images with these keys, all of the graph's neighbors or the first `k`.

    The table `neighbors` has a row for each neighbor: image (its key), rank, id, key, label and distance. Raise
    NotBuiltError if the space has no graph. Raise NotFoundError if an image does not exist, or is not in the graph.
    Raise UsageError for a k that the graph does not have.
    """
    reader = view.reader
    space, _ = reader.space(space)
    entry = reader.graph(space)
    if k is not None and not 1 <= k <= entry.k:
        raise UsageError(f"-k {k}: the graph of {space} has the {entry.k} nearest of each image.")
    wanted = {int(view.ids[view.row_of_key(key)]): key for key in keys}
    lists: dict[int, tuple[list[int], list[float]]] = {}
    asked = np.array(list(wanted), np.int64)
    for ids, neighbors, distances in reader.stream_graph(space):
        for at in np.flatnonzero(np.isin(ids, asked)).tolist():
            there = neighbors[at] >= 0
            lists[int(ids[at])] = neighbors[at][there][:k].tolist(), distances[at][there][:k].tolist()
    for one, key in wanted.items():
        if one not in lists:
            raise NotFoundError(
                f"The image {key!r} is not in the graph of {space}; rebuild it with: "
                f"{graph_command(reader.storage.location, entry)}"
            )
    found = np.array([other for one in wanted for other in lists[one][0]], np.int64)
    rows = view.rows_of_ids(found)
    table = pa.table(
        {
            "image": pa.array([key for one, key in wanted.items() for _ in lists[one][0]], pa.string()),
            "rank": pa.array([rank for one in wanted for rank in range(1, len(lists[one][0]) + 1)], pa.int64()),
            "id": found,
            "key": pa.array(view.keys(rows), pa.string()),
            "label": pa.array(view.label_texts(rows), pa.string()),
            "distance": pa.array([far for one in wanted for far in lists[one][1]], pa.float32()),
        }
    )
    made = "by a comparison of all images" if entry.method == "exact" else f"with a recall of {entry.recall:.4f}"
    nearest = min(entry.k, entry.rows - 1)
    told = f"The graph of {space} has the {nearest} nearest of each image by {NAMES[entry.metric]} distance, {made}."
    return Result(
        "graph",
        {"space": space, "k": k or entry.k, "metric": entry.metric},
        {"neighbors": table},
        {"images": float(len(wanted)), "recall": entry.recall},
        (told, *graph_notes(view, space)),
    )
