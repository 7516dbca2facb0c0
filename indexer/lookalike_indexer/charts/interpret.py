"""Sheets of cluster samples with their suggested names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image

from lookalike_indexer.charts.montage import Tile
from lookalike_indexer.charts.sheet import Header, SheetRow, sheet
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.interpret import KINDS
from lookalike_indexer.experiments.result import Result

# Clusters on one sheet, and drawn samples of each kind.
_ROWS, _DRAWN = 25, 5
_HEADS = {"central": "central", "borderline": "borderline: nearly in the next cluster", "random": "random"}


def interpretation_sheets(result: Result, thumbnails: Thumbnails) -> Iterator[tuple[str, Image.Image]]:
    """Yield sheets of 25 clusters each, by file name: the name, and up to five labeled samples of each kind."""
    clusters = result.tables["clusters"].to_pylist()
    samples: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for line in result.tables["samples"].to_pylist():
        samples.setdefault((line["cluster"], line["kind"]), []).append(line)
    drawn = min(_DRAWN, int(result.settings["samples"] or _DRAWN))  # type: ignore[arg-type]
    pages = range(0, len(clusters), _ROWS)
    for number, start in enumerate(pages, 1):
        rows = [_row(line, samples, thumbnails, drawn) for line in clusters[start : start + _ROWS]]
        page = f", sheet {number} of {len(pages)}" if len(pages) > 1 else ""
        title = f"{result.settings['clustering']}: what each cluster is about{page}"
        header = Header(title, "interpretation")
        yield f"interpret-{number:02d}", sheet(rows, [_HEADS[kind] for kind in KINDS], drawn, header)


def _row(
    line: dict[str, Any], samples: dict[tuple[int, str], list[dict[str, Any]]], thumbnails: Thumbnails, drawn: int
) -> SheetRow:
    groups = []
    for kind in KINDS:
        own = samples[line["cluster"], kind][:drawn]
        pictures = thumbnails.pictures_of_ids([sample["id"] for sample in own])
        groups.append(
            [
                Tile(picture, [sample["label"] or sample["prediction"]])
                for picture, sample in zip(pictures, own, strict=True)
            ]
        )
    before = [f"Cluster {line['cluster']}", "1 image" if line["size"] == 1 else f"{line['size']} images"]
    terms = zip(line["terms"], line["shares"], line["lifts"], strict=True)
    each = [f"{share:.0%} {term}, lift {lift:.1f}" for term, share, lift in terms]
    return SheetRow(before, groups, [line["name"] or "no name", *each])
