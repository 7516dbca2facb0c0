"""`lookalike map`: place the images on a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    checked_keep,
    class_names_option,
    clustering_option,
    csv_option,
    experiment_options,
    findings,
    for_programs,
    keep_result,
    open_view,
    sample_option,
    seed_option,
    space_option,
    where_option,
)
from lookalike_indexer.cli.out_folder import OutFolder, open_out
from lookalike_indexer.text import counted

if TYPE_CHECKING:
    from lookalike_indexer.arrays import Int64
    from lookalike_indexer.experiments.result import Result
    from lookalike_indexer.experiments.view import View


@click.command("map", cls=CollectionCommand)
@space_option
@click.option("--method", type=click.Choice(["pca", "tsne", "umap"]), default="pca", show_default=True)
@click.option(
    "--color",
    type=click.Choice(["label", "cluster", "prediction"]),
    help="Meaning of the colors.  [default: the label, or the cluster where there are no labels]",
)
@clustering_option
@sample_option
@click.option(
    "--thumbnails",
    type=click.IntRange(min=1, max=2000),
    default=600,
    show_default=True,
    help="Images on the map of thumbnails, at most.",
)
@seed_option
@click.option("--keep", metavar="NAME", callback=checked_keep, help="Name of the stored map.  [default: SPACE-METHOD]")
@class_names_option
@where_option
@csv_option("map")
@experiment_options
@reported
def map2d(
    collection: str,
    space: str,
    method: str,
    color: str | None,
    clustering: str,
    sample: int,
    thumbnails: int,
    seed: int,
    class_names: str,
    keep: str | None,
    where: str,
    out: str | None,
    as_json: bool,
) -> None:
    """Place the images on a plane, those that are alike near to each other.

    The coordinates are stored in the collection. --out draws them as points
    with the names of the clusters, and as thumbnails of which none lies over
    another.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.experiments.map2d import default_name
    from lookalike_indexer.experiments.map2d import map2d as experiment

    view, folder = open_view(collection, class_names), open_out(out)
    space, _ = view.reader.space(space)
    # Look up the color categories before the map, even without --out, because a map can take minutes.
    asked = folder is not None or color is not None or clustering
    colored = categories(view, space, color, clustering) if asked else ("", [])
    result = experiment(
        view, method=method, space=space, sample=sample, seed=seed, where=where, progress=TerminalProgress()
    )
    if as_json:
        click.echo(for_programs(result))
    else:
        click.echo(findings(result))
    # A map of some images must not replace the map of all images.
    otherwise = None if where else default_name(result)
    keep_result(view, result, keep if keep is not None else otherwise, as_json)
    if folder is not None:
        _draw(view, result, colored, _clustering(view, space, clustering), thumbnails, folder)
        folder.print_summary(as_json)


def categories(view: View, space: str, color: str | None, clustering: str) -> tuple[str, list[str]]:
    """Return the meaning of the colors, and the category of each image of the view."""
    import numpy as np

    from lookalike_indexer.experiments.space_notes import partial_notes

    if color is None and not clustering and view.label_names:
        color = "label"
    if color == "label":
        view.require_labels()
        return "label", view.label_texts(np.arange(len(view)))
    if color == "prediction":
        model = view.reader.manifest.spaces[space].model
        predicted = view.predicted(model)
        return f"prediction of {model}", [predicted.names.get(index, "") for index in predicted.classes[:, 0].tolist()]
    name = view.clustering_name(clustering, space)
    for note in partial_notes(view, [name]):
        click.echo(note, err=True)
    clusters = view.assigned(name).clusters.tolist()
    width = len(str(max(clusters, default=0)))
    return f"cluster of {name}", ["" if cluster < 0 else f"{cluster:0{width}d}" for cluster in clusters]


def _clustering(view: View, space: str, clustering: str) -> str:
    """Return the requested clustering or the space's current one, "" if neither exists."""
    from lookalike_indexer.errors import NotBuiltError

    try:
        return view.clustering_name(clustering, space)
    except NotBuiltError:
        return ""


def _draw(
    view: View, result: Result, colored: tuple[str, list[str]], clustering: str, most: int, folder: OutFolder
) -> None:
    import numpy as np

    from lookalike_indexer.charts.map2d import Map, centers, points
    from lookalike_indexer.charts.map2d import thumbnails as draw_thumbnails
    from lookalike_indexer.charts.palette import palette
    from lookalike_indexer.experiments.interpret import cluster_names
    from lookalike_indexer.experiments.map2d import METHOD_NAMES

    by, of_images = colored
    table = result.tables["map"]
    rows: Int64 = view.rows_of_ids(table.column("id").to_numpy())
    places = np.stack([table.column(axis).to_numpy() for axis in "xy"], axis=1).astype(np.float64)
    title = f"{result.settings['space']}, {METHOD_NAMES[str(result.settings['method'])]}"
    named = [of_images[row] for row in rows.tolist()]
    colors = palette(named)
    titled = f"{title}: {counted(len(rows), 'image')}"
    names: list[tuple[str, float, float]] = []
    if clustering:
        names = centers(places, view.assigned(clustering).clusters[rows], cluster_names(view, clustering))
        titled += f", names of the clusters of {clustering}"
    chart = Map(places, named, colors, by, titled, names)
    folder.save(f"map-{result.settings['method']}", points(chart))
    drawn = np.arange(len(rows))
    if len(rows) > most:
        seed = int(str(result.settings["seed"]))
        drawn = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
        title = f"{title}: {most:,} of {len(rows):,} images, by chance"
    chart = Map(places[drawn], [named[place] for place in drawn.tolist()], colors, by, title)
    pictures = folder.thumbnails(view, size=96)
    sheet = draw_thumbnails(chart, lambda place: pictures.picture(int(rows[drawn[place]])))
    folder.save(f"map-{result.settings['method']}-thumbnails", sheet)
