"""Montages of an image's clusters, one for each clustering, and the agreement of the clusterings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lookalike_indexer.charts.heatmap import Axes, heatmap
from lookalike_indexer.charts.montage import GOOD, ODD, QUERY, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.experiments.result import Result


def cluster_montages(result: Result, row: int, thumbnails: Thumbnails) -> Iterator[tuple[str, Image.Image]]:
    """Yield a montage for each clustering, by its name: the image, then the members of its cluster, the nearest first.

    Members with the image's label have a green frame, others a red one.
    """
    key, label = str(result.settings["key"]), str(result.settings["label"])
    query = Tile(thumbnails.picture(row), [label or "no label", key.rsplit("/", 1)[-1], "asked for"], QUERY)
    members = result.tables["members"].to_pylist()
    for line in result.tables["clusters"].to_pylist():
        own = [member for member in members if member["clustering"] == line["clustering"]]
        pictures = thumbnails.pictures_of_ids([member["id"] for member in own])
        tiles = [
            Tile(picture, _caption(member), frame(member["label"], label))
            for member, picture in zip(own, pictures, strict=True)
        ]
        yield line["clustering"], montage([Section([query, *tiles])], _title(line, own))


def agreement_figure(result: Result) -> Figure | None:
    """Return the ARI of each pair of clusterings as a heatmap; None for fewer than two clusterings."""
    pairs = result.tables["agreement"].to_pylist()
    if not pairs:
        return None
    names = result.tables["clusters"].column("clustering").to_pylist()
    place = {name: number for number, name in enumerate(names)}
    matrix = np.eye(len(names))
    for pair in pairs:
        first, second = place[pair["first"]], place[pair["second"]]
        matrix[first, second] = matrix[second, first] = pair["ari"]
    axes = Axes("How far the clusterings agree", values="adjusted Rand index", vmax=1.0, number="{:.2f}")
    return heatmap(matrix, names, names, axes)


def _title(line: dict[str, Any], members: list[dict[str, Any]]) -> str:
    measured = f"; {NAMES[members[0]['metric']]} distances" if members else ""
    return f"{line['clustering']}: {cluster_text(line)}{measured}"


def cluster_text(line: dict[str, Any]) -> str:
    """Return a row of the table "clusters" as text: the cluster, its size, and its most frequent label."""
    if line["cluster"] < 0:
        return "in no cluster"
    counted = "1 image" if line["size"] == 1 else f"{line['size']} images"
    told = f"cluster {line['cluster']}, {counted}"
    return f"{told}, purity {line['purity']:.2f} ({line['label']})" if line["label"] else told


def _caption(member: dict[str, Any]) -> list[str]:
    return [
        member["label"] or "no label",
        member["key"].rsplit("/", 1)[-1],
        f"{member['rank']}.  {member['distance']:.3f}",
    ]


def frame(label: str, wanted: str) -> str:
    """Return the frame color of an image by its label and the wanted one; "" if either is unknown."""
    return "" if not (label and wanted) else GOOD if label == wanted else ODD
