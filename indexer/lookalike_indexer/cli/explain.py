"""`lookalike explain`: why an image was classified as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

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
from lookalike_indexer.errors import UsageError

if TYPE_CHECKING:
    from lookalike_indexer.attribution.attributor import Method


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
        from lookalike_indexer.attribution.drawn import drawn_attributions
        from lookalike_indexer.pictures.explanation import explanation_sheet
        from lookalike_indexer.pictures.thumbnails import Thumbnails

        wanted: dict[Method, bool] = {"cam": cam, "gbp": gbp}
        methods = [method for method, drawn in wanted.items() if drawn]
        overlays = drawn_attributions(view, row, result, methods, weights) if methods else []
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
