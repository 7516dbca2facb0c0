"""`lookalike mistakes`: list the classes that a model confuses, and the misclassified images."""

from __future__ import annotations

import shlex
from pathlib import Path

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
    open_view,
    print_all,
    shown,
)
from lookalike_indexer.cli.out_folder import open_out

_LISTED = ["rank", "label", "class", "probability", "label_rank", "key"]


@click.command(cls=CollectionCommand)
@click.option("--model", default="", metavar="NAME", help="The model.  [default: that of the default space]")
@click.option("--label", default="", metavar="LABEL", help="Only the images of this label.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=60, show_default=True, help="Misclassified images to list and draw."
)
@class_map_option
@keep_option
@class_names_option
@csv_option("confusion", "labels", "mistakes", "unmapped")
@experiment_options
@reported
def mistakes(
    collection: str,
    model: str,
    label: str,
    limit: int,
    class_map_file: str | None,
    class_names: str,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Show which classes a model confuses, and list the misclassified images, most confident first.

    A label stands for the class of the same name, whatever its case and
    punctuation and with or without a WordNet number before it; --class-map
    says what other labels stand for. --out draws the confusion table, writes
    its counts as CSV, and draws a sheet of the images. Look into one of them with lookalike explain.

    label_rank is the place of the label's class among the most probable
    classes that were stored; - means that it is not among them.
    """
    from lookalike_indexer.experiments.class_map import read_class_map
    from lookalike_indexer.experiments.mistakes import mistakes as experiment
    from lookalike_indexer.experiments.mistakes import with_unknown_ranks

    names = read_class_map(Path(class_map_file)) if class_map_file else None
    view, folder = open_view(collection, class_names), open_out(out)
    result = experiment(view, model, label=label, limit=limit, class_map=names)
    listed = result.tables["mistakes"]
    if as_json:
        click.echo(for_programs(result))
    else:
        labels = result.tables["labels"]
        next_step = ""
        if listed.num_rows:
            key = shlex.quote(listed.column("key")[0].as_py())
            next_step = f"Next: lookalike explain {key} --collection {shlex.quote(collection)} --cam --gbp --out DIR"
        print_all(
            findings(result),
            shown(labels, labels.column_names),
            shown(with_unknown_ranks(listed), _LISTED, most=listed.num_rows) if listed.num_rows else "",
            next_step,
        )
    if folder is not None:
        from lookalike_indexer.charts.mistakes import confusion_figure, mistakes_sheet

        table = folder.save_table("confusion", result.tables["confusion"])
        folder.save("confusion", confusion_figure(result, table.name))
        if listed.num_rows:
            folder.save("mistakes", mistakes_sheet(result, folder.thumbnails(view)))
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
