"""Montage of each sub-cluster of a class, with its surroundings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image

from lookalike_indexer.charts.montage import Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.metrics import heading
from lookalike_indexer.experiments.result import Result

_MEMBERS, _NEIGHBORS = 24, 8


def split_montages(result: Result, thumbnails: Thumbnails) -> Iterator[tuple[str, Image.Image]]:
    """Yield montages by file name: the members nearest to the centroid, then the nearest images of other classes."""
    label = str(result.settings["label"])
    members, neighbors = (result.tables[table].to_pylist() for table in ("members", "neighbours"))
    for line in result.tables["subclusters"].to_pylist():
        number = line["subcluster"]
        own = [member for member in members if member["subcluster"] == number][:_MEMBERS]
        others = [other for other in neighbors if other["subcluster"] == number][:_NEIGHBORS]
        shown = f"Nearest to its middle, {len(own)} of {line['size']}{result.measured_by}"
        sections = [
            Section(_tiles(own, thumbnails), shown),
            Section(_tiles(others, thumbnails), "Around it, of other classes"),
        ]
        name = heading("silhouette", result.settings.get("metric"))
        title = f"{label}, sub-cluster {number}: {line['size']} images, {name} {line['silhouette']:.2f}"
        yield f"{label}-{number}", montage([section for section in sections if section.tiles], title)


def _tiles(lines: list[dict[str, Any]], thumbnails: Thumbnails) -> list[Tile]:
    pictures = thumbnails.pictures_of_ids([line["id"] for line in lines])
    return [Tile(picture, _caption(line)) for picture, line in zip(pictures, lines, strict=True)]


def _caption(line: dict[str, Any]) -> list[str]:
    label = [line["label"] or "no label"] if "label" in line else []
    return [*label, f"{line['rank']}.  {line['distance']:.3f}", line["key"].rsplit("/", 1)[-1]]
