"""`lookalike explain`: explain predictions for images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    as_data,
    class_map_option,
    class_names_option,
    csv_option,
    findings,
    for_programs,
    json_option,
    out_option,
    plain,
    print_all,
    requested_csv,
    seed_option,
    shown,
    space_option,
)
from lookalike_indexer.cli.out_folder import open_out
from lookalike_indexer.cli.subjects import NamedImage, collection_option, open_subjects, random_option
from lookalike_indexer.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lookalike_indexer.experiments.result import Result


@click.command()
@click.argument("subjects", nargs=-1, metavar="[DIR] KEY|FILE...", type=click.Path())
@random_option
@seed_option
@space_option
@click.option(
    "-k", "neighbors", type=click.IntRange(min=1), default=5, show_default=True, help="Images of each class shown."
)
@class_map_option
@click.option("--cam", is_flag=True, help="Draw Grad-CAM over the image, for the class taken and for its own.")
@click.option("--gbp", is_flag=True, help="Draw guided backpropagation over the image, likewise.")
@click.option(
    "--weights", type=click.Path(), metavar="FILE", help="Where the model's weights lie now, where they are needed."
)
@class_names_option
@collection_option
@out_option
@csv_option("predictions", "nearest", "clusters", "odd")
@json_option
@reported
def explain(
    subjects: tuple[str, ...],
    drawn: int | None,
    seed: int,
    collection: str | None,
    class_names: str,
    space: str,
    neighbors: int,
    class_map_file: str | None,
    cam: bool,
    gbp: bool,
    weights: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Explain what the models make of images of the collection in DIR, or of other image files.

    KEY is an image's path relative to the source; FILE is any image file.
    Shows the predictions of each model against the label, the nearest images
    of the class that it is taken for beside the nearest of its own, and the
    clusters that it is in.

    --out draws explain.png, a table of all images: class index, probability,
    class, the original, Grad-CAM and guided backpropagation; and a chart for
    each image with its nearest images.
    """
    from lookalike_indexer.cli.explain_output import Explainer
    from lookalike_indexer.experiments.class_map import read_class_map

    if (cam or gbp) and out is None:
        raise UsageError("--cam and --gbp draw charts; add --out DIR.")
    names = read_class_map(Path(class_map_file)) if class_map_file else None
    view, _, images = open_subjects(subjects, collection, drawn, seed, class_names)
    if requested_csv() and (len(images) > 1 or drawn is not None):
        raise UsageError("--csv prints a table of one image; use --json for several.")
    folder = open_out(out)
    explainer = Explainer(view, space, weights, neighbors, names)
    results = [explainer.result(image) for image in images]
    if folder is not None:
        from lookalike_indexer.cli.explain_output import draw

        asked = {"cam": cam, "gbp": gbp}
        for line in draw(explainer, folder, images, results, [name for name, wanted in asked.items() if wanted]):
            click.echo(line, err=True)
        folder.print_summary(as_json)
    if len(images) == 1 and drawn is None:
        _print_one(results[0], as_json)
    else:
        _print_all(images, results, as_json)


def _print_one(result: Result, as_json: bool) -> None:
    if as_json:
        click.echo(for_programs(result))
        return
    print_all(
        findings(result),
        shown(result.tables["predictions"], ["model", "rank", "class_index", "class", "probability", "of_label"]),
        shown(
            result.tables["nearest"],
            ["group", "rank", "label", "distance", "cluster", "key"],
            metric=result.settings["metric"],
        ),
    )


def _print_all(images: list[NamedImage], results: list[Result], as_json: bool) -> None:
    from lookalike_indexer.experiments.explain_table import explain_table

    table = explain_table(results)
    if as_json:
        data: dict[str, Any] = {
            "kind": "explain",
            "table": plain(table.to_pylist()),
            "images": [as_data(result) for result in results],
        }
        click.echo(json.dumps(data, indent=1, allow_nan=False))
        return
    print_all(
        _listed(table),
        *(f"{click.unstyle(image.text)}\n{findings(result)}" for image, result in zip(images, results, strict=True)),
    )


def _listed(table: pa.Table) -> str:
    return shown(table, ["class_index", "probability", "class", "label", "of_label", "key"], most=table.num_rows)
