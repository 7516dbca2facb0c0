"""Sheet of several images with their classes and attributions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from PIL import Image

from lookalike_indexer.charts.explanation import TITLES, Drawn
from lookalike_indexer.charts.montage import GOOD, INK, ODD, Tile
from lookalike_indexer.charts.table import Cell, Column, Row, TextCell, table

# Rows of one sheet.
_ROWS = 24


def explain_sheets(
    classes: pa.Table,
    images: Mapping[str, Image.Image | None],
    drawn: Mapping[str, Drawn],
    methods: Sequence[str],
    model: str,
    notes: Sequence[str] = (),
) -> Iterator[tuple[str, Image.Image]]:
    """Yield sheets of at most 24 rows, by file name: an `explain_table`, with the attributions of each class.

    `images` and `drawn` are by key. A cell without an attribution is empty, and `notes` give the reason.
    """
    # The network sees a central square.
    original = "original, cropped" if methods else "original"
    heads = ["image, label", "index", "probability", "class", original]
    columns = [Column(heads[0], 212), Column(heads[1], 48, True), Column(heads[2], 86, True), Column(heads[3], 150)]
    columns += [Column(heads[4]), *(Column(TITLES[method]) for method in methods)]
    groups = _groups(classes.to_pylist())
    pages = _pages(groups)
    title = f"{model}: the most probable class of {len(groups)} image{'' if len(groups) == 1 else 's'}"
    title += ", and the pixels that support it" if methods else ""
    for number, page in enumerate(pages, 1):
        rows = [row for lines in page for row in _rows(lines, images[lines[0]["key"]], drawn[lines[0]["key"]], methods)]
        told = f"{title} (sheet {number} of {len(pages)})" if len(pages) > 1 else title
        yield ("explain" if len(pages) == 1 else f"explain-{number:02d}"), table(columns, rows, told, notes)


def _groups(lines: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the rows of each image."""
    groups: list[list[dict[str, Any]]] = []
    for line in lines:
        if line["is_first"]:
            groups.append([])
        groups[-1].append(line)
    return groups


def _pages(groups: list[list[dict[str, Any]]]) -> list[list[list[dict[str, Any]]]]:
    """Return the images of each sheet: the rows of an image stay on one sheet."""
    pages: list[list[list[dict[str, Any]]]] = [[]]
    for lines in groups:
        if sum(map(len, pages[-1])) + len(lines) > _ROWS:
            pages.append([])
        pages[-1].append(lines)
    return pages


def _rows(
    lines: list[dict[str, Any]], image: Image.Image | None, drawn: Drawn, methods: Sequence[str]
) -> Iterator[Row]:
    for line in lines:
        frame = "" if line["of_label"] is None else GOOD if line["of_label"] else ODD
        says = {True: ["right"], False: ["wrong"], None: []}[line["of_label"]]
        cells: list[Cell] = [
            TextCell([line["label"] or "no label", line["key"].rsplit("/", 1)[-1]], is_path=True)
            if line["is_first"]
            else TextCell(),
            TextCell([str(line["class_index"])]),
            TextCell([_probability(line)]),
            TextCell([line["class"], *(says if line["is_first"] else ["the label's class"])], frame or INK),
            Tile(image, frame=frame) if line["is_first"] else TextCell(),
        ]
        pictures = [drawn.get((line["class_index"], method)) for method in methods]
        yield [*cells, *(TextCell() if picture is None else Tile(picture) for picture in pictures)]


def _probability(line: dict[str, Any]) -> str:
    known = line["probability"]
    return f"≤ {line['at_most']:.3f}" if known is None else f"{known:.3f}"
