"""`lookalike explain`: why an image was classified as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    experiment_options,
    findings,
    open_view,
    shown,
    space_option,
    to_json,
    told,
)
from lookalike_indexer.cli.out_folder import open_out
from lookalike_indexer.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from lookalike_indexer.attribution.attributor import Method
    from lookalike_indexer.experiments.result import Result
    from lookalike_indexer.experiments.view import View
    from lookalike_indexer.pictures.explanation import Overlay

_TITLES: dict[Method, str] = {"cam": "Grad-CAM", "gbp": "guided backprop"}


@click.command()
@click.argument("key")
@space_option
@click.option(
    "-k", "neighbours", type=click.IntRange(min=1), default=5, show_default=True, help="Images of each class shown."
)
@click.option(
    "--class-map",
    "class_map_file",
    type=click.Path(),
    metavar="FILE",
    help="CSV of label and class, for labels that are not called as the model's classes are.",
)
@click.option("--cam", is_flag=True, help="Draw Grad-CAM over the image, for the class taken and for its own.")
@click.option("--gbp", is_flag=True, help="Draw guided backpropagation over the image, likewise.")
@click.option(
    "--weights", type=click.Path(), metavar="FILE", help="Where the model's weights lie now, for --cam and --gbp."
)
@experiment_options
@reported
def explain(
    key: str,
    collection: str,
    space: str,
    neighbours: int,
    class_map_file: str | None,
    cam: bool,
    gbp: bool,
    weights: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Explain what the models make of the image KEY, which is its path relative to the source.

    Shows the predictions of each model against the label, the nearest images
    of the class that it is taken for beside the nearest of its own, and the
    clusters that it is in. --out draws all of that as one picture.
    """
    from lookalike_indexer.experiments.class_map import read_class_map
    from lookalike_indexer.experiments.explain import explain as experiment

    if (cam or gbp) and out is None:
        raise UsageError("--cam and --gbp draw pictures; say where to with --out DIR.")
    names = read_class_map(Path(class_map_file)) if class_map_file else None
    view, folder = open_view(collection), open_out(out)
    row = view.row_of_key(key)
    result = experiment(view, row, space, neighbours=neighbours, class_names=names)
    if folder is not None:
        from lookalike_indexer.pictures.explanation import explanation_sheet
        from lookalike_indexer.pictures.thumbnails import Thumbnails

        wanted: dict[Method, bool] = {"cam": cam, "gbp": gbp}
        methods = [method for method, drawn in wanted.items() if drawn]
        overlays = _overlays(view, row, result, methods, weights) if methods else []
        thumbnails = Thumbnails(view)
        sheet = explanation_sheet(
            result,
            thumbnails.picture(row),
            lambda image_id: thumbnails.picture(view.row_of_id(image_id)),
            overlays,
        )
        folder.save(f"explain-{key}", sheet)
        folder.tell(as_json)
    if as_json:
        click.echo(to_json(result))
        return
    told(
        findings(result),
        shown(result.tables["predictions"], ["model", "rank", "class", "probability", "of_label"]),
        shown(result.tables["nearest"], ["group", "rank", "label", "distance", "cluster", "key"]),
    )


def _overlays(view: View, row: int, result: Result, methods: list[Method], weights: str | None) -> list[Overlay]:
    """Pictures of the methods, for the class that the image is taken for and, where it is known, for its own."""
    from lookalike_indexer.attribution.attributor import Attributor
    from lookalike_indexer.images.decode import DEFAULT_LIMITS
    from lookalike_indexer.images.prepare import Prepared, prepare
    from lookalike_indexer.pictures.overlay import overlay

    attributor = Attributor.open(view.reader, str(result.settings["model"]), weights)
    (uri,) = view.uris(np.array([row]))
    image = prepare(uri, attributor.preprocessing, DEFAULT_LIMITS)
    if not isinstance(image, Prepared):
        raise DecodeError(f"{uri} cannot be read any more: {image.reason}; restore the file that was embedded.")
    classes = {str(result.settings["rival"]): result.settings["rival_class"]}
    if result.settings["own_class"] != -1:
        classes[str(result.settings["label"])] = result.settings["own_class"]
    return [
        (
            [_TITLES[method], f"for {name}"],
            overlay(image.pixels, attributor.attribution(image.pixels, int(str(index)), method), method),
        )
        for name, index in classes.items()
        for method in methods
    ]
