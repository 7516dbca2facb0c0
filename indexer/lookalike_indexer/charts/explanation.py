"""Sheet of an explanation: an image beside those of its rival class and of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from lookalike_indexer.charts.montage import GOOD, ODD, QUERY, MontageStyle, Section, Tile, montage
from lookalike_indexer.experiments.result import Result

Picture = Callable[[int], Image.Image | None]
# Attribution heatmaps, by class index and method, "cam" or "gbp".
Drawn = Mapping[tuple[int, str], Image.Image]
TITLES = {"cam": "Grad-CAM", "gbp": "guided backprop"}


def explanation_sheet(
    result: Result, image: Image.Image | None, picture: Picture, drawn: Drawn | None = None
) -> Image.Image:
    """Draw an explanation: the image and its attributions, its nearest images of the rival class and of its own.

    `picture` gives an image's thumbnail by id; the heatmaps in `drawn` are beside the image: those of the rival class,
    then those of its own.
    """
    settings = result.settings
    model, label = str(settings["model"]), str(settings["label"])
    first = next(line for line in result.tables["predictions"].to_pylist() if line["model"] == model)
    told = [label or "no label", f"for {first['class']}", f"{first['probability']:.0%}"]
    top = [Tile(image, told, QUERY, words=2), *_overlays(result, drawn or {})]
    nearest = result.tables["nearest"].to_pylist()
    sections = [Section(top, f"{_file(str(settings['key']))} in the space {settings['space']}{result.measured_by}")]
    rivals = {
        "label": str(settings["rival"]),
        "prediction": f"those that are taken for {settings['rival']}",
        "other": f"{'other' if label else 'all'} labels; none stands for {settings['rival']}",
    }
    own = f"nearest {'other ' if settings['rival_by'] == 'prediction' else ''}images of {label}"
    for group, title, frame in (
        ("rival", f"nearest of {rivals[str(settings['rival_by'])]}", ODD if label else ""),
        ("own", own, GOOD),
    ):
        tiles = [
            Tile(
                picture(line["id"]),
                [line["label"] or "no label", f"{line['distance']:.3f}", _file(line["key"])],
                frame,
                2,
            )
            for line in nearest
            if line["group"] == group
        ]
        if tiles:
            sections.append(Section(tiles, title))
    title = f"{model} takes it for {first['class']} ({first['probability']:.0%})"
    title += f"; {_about_label(first, label)}"
    return montage(sections, title, MontageStyle(tile=160, columns=6))


def _about_label(first: dict[str, Any], label: str) -> str:
    if not label:
        return "it has no label"
    return "its label says so" if first["of_label"] else f"its label is {label}"


def _overlays(result: Result, drawn: Drawn) -> list[Tile]:
    settings = result.settings
    names = {int(str(settings["rival_class"])): str(settings["rival"])}
    if int(str(settings["own_class"])) >= 0:
        names[int(str(settings["own_class"]))] = str(settings["label"])
    return [
        Tile(drawn[index, method], [TITLES[method], f"for {name}"], words=2)
        for index, name in names.items()
        for method in ("cam", "gbp")
        if (index, method) in drawn
    ]


def _file(key: str) -> str:
    return key.rsplit("/", 1)[-1]
