"""`lookalike classes`: measure how often each model predicts each class correctly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    class_map_option,
    class_names_option,
    csv_option,
    experiment_options,
    findings,
    for_programs,
    keep_option,
    keep_result,
    named_list,
    open_view,
    print_all,
    shown,
)
from lookalike_indexer.cli.out_folder import open_out

if TYPE_CHECKING:
    from lookalike_indexer.experiments.classes import AccuracyMetric


@click.command(cls=CollectionCommand)
@click.option("--models", default="", metavar="A,B", help="The models.  [default: all that keep predictions]")
@click.option("--metric", type=click.Choice(["top1", "top5"]), default="top1", show_default=True)
@click.option(
    "--best", type=click.IntRange(min=1), default=20, show_default=True, help="Best classes of each model to compare."
)
@class_map_option
@keep_option
@class_names_option
@csv_option("accuracies", "best", "unmapped")
@experiment_options
@reported
def classes(
    collection: str,
    models: str,
    metric: AccuracyMetric,
    best: int,
    class_map_file: str | None,
    class_names: str,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Show how often each model is right about each class, and the classes in the best of all models.

    A label stands for the class of the same name, whatever its case and
    punctuation and with or without a WordNet number before it; --class-map
    says what other labels stand for. --out draws a bar chart.
    """
    from lookalike_indexer.experiments.class_map import read_class_map
    from lookalike_indexer.experiments.classes import class_accuracies

    names = read_class_map(Path(class_map_file)) if class_map_file else None
    view, folder = open_view(collection, class_names), open_out(out)
    result = class_accuracies(view, named_list(models), metric=metric, best=best, class_map=names)
    if as_json:
        click.echo(for_programs(result))
    else:
        accuracies = result.tables["accuracies"]
        in_all = result.tables["best"]
        print_all(
            findings(result),
            shown(in_all, in_all.column_names, most=in_all.num_rows) if in_all.num_rows else "",
            shown(accuracies, accuracies.column_names, most=60),
        )
    if folder is not None:
        from lookalike_indexer.charts.scores import accuracies_chart

        folder.save("accuracies", accuracies_chart(result))
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
