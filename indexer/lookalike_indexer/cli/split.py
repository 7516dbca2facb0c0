"""`lookalike split`: cluster the images of one class."""

from __future__ import annotations

from typing import Any

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    csv_option,
    experiment_options,
    findings,
    for_programs,
    open_view,
    print_all,
    seed_option,
    shown,
    space_option,
)


class _Number(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value in ("auto", 0) else click.IntRange(min=1).convert(value, param, ctx)


@click.command(cls=CollectionCommand)
@click.argument("label", metavar="LABEL")
@click.option("-k", "--k", type=_Number(), default="auto", show_default=True, metavar="K|auto", help="Sub-clusters.")
@space_option
@seed_option
@csv_option("subclusters", "members", "around", "neighbours", "ks")
@experiment_options
@reported
def split(label: str, collection: str, out: str | None, as_json: bool, **options: Any) -> None:
    """Cluster the images of the class LABEL among themselves, and tell which classes lie around each group.

    "auto" takes the number of groups with the highest silhouette. --out draws
    a montage for each.
    """
    from lookalike_indexer.cli.out_folder import open_out
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.experiments.split import split_label

    view, folder = open_view(collection), open_out(out)
    result = split_label(view, label, progress=TerminalProgress(), **options)
    if as_json:
        click.echo(for_programs(result))
    else:
        ks, metric = result.tables["ks"], result.settings["metric"]
        print_all(
            findings(result),
            shown(result.tables["subclusters"], ["subcluster", "size", "silhouette", "distance"], metric=metric),
            shown(ks, ["k", "silhouette", "inertia"], metric=metric) if len(ks) > 1 else "",
        )
    if folder is not None:
        from lookalike_indexer.charts.split import split_montages

        for name, picture in split_montages(result, folder.thumbnails(view)):
            folder.save(name, picture)
        folder.print_summary(as_json)
