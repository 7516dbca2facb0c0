"""A misclassified image beside what it was taken for and what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from lookalike_indexer.experiments.result import Result
from lookalike_indexer.pictures.montage import GOOD, ODD, QUERY, MontageStyle, Section, Tile, montage

Picture = Callable[[int], Image.Image | None]
Overlay = tuple[Sequence[str], Image.Image]


def explanation_sheet(
    result: Result, image: Image.Image | None, picture: Picture, overlays: Sequence[Overlay] = ()
) -> Image.Image:
    """Draw an explanation: the image and what is drawn over it, its nearest images of the rival class and of its own.

    `picture` gives an image's thumbnail by id; `overlays` are drawn beside the
    image, each with its captions.
    """
    settings = result.settings
    first = next(line for line in result.tables["predictions"].to_pylist() if line["model"] == settings["model"])
    told = [str(settings["label"]) or "no label", f"taken for {first['class']} ({first['probability']:.0%})"]
    top = [Tile(image, told, QUERY), *(Tile(drawn, captions) for captions, drawn in overlays)]
    nearest = result.tables["nearest"].to_pylist()
    sections = [Section(top, f"{settings['key']}, in {settings['space']}")]
    rivals = {
        "label": str(settings["rival"]),
        "prediction": f"those taken for {settings['rival']}",
        "other": f"other labels; none stands for {settings['rival']}",
    }
    for group, title, frame in (
        ("rival", f"nearest of {rivals[str(settings['rival_by'])]}", ODD),
        ("own", f"nearest of {settings['label']}", GOOD),
    ):
        tiles = [
            Tile(picture(line["id"]), [line["label"] or "no label", f"{line['distance']:.3f}"], frame)
            for line in nearest
            if line["group"] == group
        ]
        if tiles:
            sections.append(Section(tiles, title))
    return montage(sections, " ".join(result.findings[:1]), MontageStyle(tile=160, columns=6))
