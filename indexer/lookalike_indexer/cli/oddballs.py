"""`lookalike oddballs`: list images that are unusual for their class."""

from __future__ import annotations

from typing import Any

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    clustering_option,
    csv_option,
    experiment_options,
    findings,
    for_programs,
    open_view,
    print_all,
    shown,
    where_option,
)

_LISTED = ["rank", "key", "label", "looks_like", "why", "score", "distance", "other_distance"]


@click.command(cls=CollectionCommand)
@clustering_option
@click.option("--label", default="", metavar="L", help="Only images of this class.  [default: all]")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Images to list, at most.")
@click.option(
    "--method",
    type=click.Choice(["auto", "embeddings", "clusters"]),
    default="auto",
    show_default=True,
    help="Judge by embeddings, or by clusters alone, which takes seconds for a million images; auto goes by the size.",
)
@where_option
@csv_option("oddballs", "typical", "labels")
@experiment_options
@reported
def oddballs(collection: str, out: str | None, as_json: bool, **options: Any) -> None:
    """List the images that are odd for their class, the oddest first, with the class they look like instead.

    Odd is what lies outside the clusters of its class, far from its middle,
    or nearer to the middle of another class. --out draws them beside typical
    images of their class.
    """
    from lookalike_indexer.cli.out_folder import open_out
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.experiments.oddballs import oddballs as experiment

    view, folder = open_view(collection), open_out(out)
    result = experiment(view, progress=TerminalProgress(), **options)
    if as_json:
        click.echo(for_programs(result))
    else:
        labels = result.tables["labels"].sort_by([("odd", "descending"), ("label", "ascending")])
        print_all(
            findings(result),
            shown(result.tables["oddballs"], _LISTED, 50, result.settings["metric"]),
            shown(labels, ["label", "images", "odd", "outside", "secondary", "far", "nearer"], 12),
        )
    if folder is not None:
        from lookalike_indexer.charts.oddballs import oddball_montage

        folder.save("oddballs", oddball_montage(result, folder.thumbnails(view)))
        folder.print_summary(as_json)
