"""`lookalike show`: show images in all spaces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    as_data,
    class_names_option,
    findings,
    for_programs,
    json_option,
    out_option,
    print_all,
    seed_option,
    shown,
)
from lookalike_indexer.cli.subjects import collection_option, open_subjects, random_option
from lookalike_indexer.collection.metrics import BY_SPACE
from lookalike_indexer.errors import NotFoundError

if TYPE_CHECKING:
    from lookalike_indexer.cli.out_folder import OutFolder
    from lookalike_indexer.experiments.result import Result
    from lookalike_indexer.experiments.view import View

_CLUSTERS = ["clustering", "cluster", "size", "metric", "distance", "label", "purity", "own_share"]


@click.command()
@click.argument("subjects", nargs=-1, metavar="[DIR] KEY...", type=click.Path())
@random_option
@seed_option
@click.option("--members", type=click.IntRange(0, 1000), default=23, show_default=True, help="Fellow members to show.")
@class_names_option
@collection_option
@out_option
@json_option
@reported
def show(
    subjects: tuple[str, ...],
    drawn: int | None,
    seed: int,
    collection: str | None,
    class_names: str,
    members: int,
    out: str | None,
    as_json: bool,
) -> None:
    """Show stored images of the collection in DIR: their clusters in every space, and what each model takes them for.

    --out draws layers.png, a sheet of the clusters in all layers and poolings;
    a montage for each clustering, the image first and then the members of its
    cluster that are most like it in that space; and a chart of how far the
    clusterings agree. Those of several images have their keys in front.
    """
    from lookalike_indexer.cli.out_folder import open_out
    from lookalike_indexer.experiments.image_clusters import image_clusters

    view, _, images = open_subjects(subjects, collection, drawn, seed, class_names)
    for image in images:
        if image.row < 0:
            raise NotFoundError(
                f"{image.text} is not in the collection {view.reader.name}; for other images, use lookalike explain."
            )
    folder = open_out(out)
    results = [image_clusters(view, image.row, members) for image in images]
    is_one = len(images) == 1 and drawn is None
    if as_json:
        every = {"kind": "image_clusters", "images": [as_data(result) for result in results]}
        click.echo(for_programs(results[0]) if is_one else json.dumps(every, indent=1, allow_nan=False))
    else:
        for number, result in enumerate(results):
            click.echo("\n" * bool(number), nl=False)
            _print_result(result)
    if folder is not None:
        for image, result in zip(images, results, strict=True):
            _draw(view, image.row, result, folder, "" if is_one else f"{image.text}-")
        folder.print_summary(as_json)


def _print_result(result: Result) -> None:
    predictions = result.tables["predictions"]
    print_all(
        findings(result),
        shown(predictions, ["model", "rank", "class", "probability"]) if len(predictions) else "",
        shown(result.tables["clusters"], _clusters(result), 100, result.settings["metric"]),
    )


def _clusters(result: Result) -> list[str]:
    """Return the columns to print, with the metric if the clusterings have different ones."""
    same = result.settings["metric"] != BY_SPACE
    return [name for name in _CLUSTERS if name != "metric" or not same]


def _draw(view: View, row: int, result: Result, folder: OutFolder, prefix: str) -> None:
    from lookalike_indexer.charts.image_clusters import agreement_figure, cluster_montages
    from lookalike_indexer.charts.layer_sheet import layer_sheets

    thumbnails = folder.thumbnails(view)
    for name, picture in layer_sheets(result, row, view.reader.manifest.spaces, thumbnails):
        folder.save(f"{prefix}{name}", picture)
    for name, picture in cluster_montages(result, row, thumbnails):
        folder.save(f"{prefix}{name}", picture)
    figure = agreement_figure(result)
    # The figure describes all images, so draw it once.
    if figure is not None and not any(path.name == "agreement.png" for path in folder.written):
        folder.save("agreement", figure)
