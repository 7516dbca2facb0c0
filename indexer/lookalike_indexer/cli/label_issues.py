"""`lookalike label-issues`: list labels that are likely wrong."""

from __future__ import annotations

import shlex

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    csv_option,
    findings,
    for_programs,
    json_option,
    keep_option,
    keep_result,
    open_view,
    out_option,
    print_all,
    shown,
    space_option,
)
from lookalike_indexer.cli.out_folder import open_out

_LISTED = ["rank", "label", "suggested", "score", "label_probability", "suggested_probability", "key"]


@click.command(name="label-issues", cls=CollectionCommand)
@collection_option
@space_option
@click.option("--limit", type=click.IntRange(min=1), default=60, show_default=True, help="Issues to list and draw.")
@click.option(
    "--no-predictions", is_flag=True, help="Let the neighbors decide alone, also where there are predictions."
)
@click.option("--scores", is_flag=True, help="Add a table with the score of every labeled image.")
@keep_option
@out_option
@csv_option("issues", "labels", "pairs", "scores")
@json_option
@reported
def label_issues(
    collection: str,
    space: str,
    limit: int,
    no_predictions: bool,
    scores: bool,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """List the images of the collection in DIR whose label is likely wrong, with the label suggested instead.

    The neighbors of an image in the graph that `lookalike graph` made vote for their labels, and so do images with the
    same predicted classes. --out draws a sheet with image, label and suggestion, and writes the suggestions as CSV:
    look through them, and correct labels with `lookalike attach`.
    """
    from lookalike_indexer.experiments.label_issues import label_issues as experiment

    view, folder = open_view(collection), open_out(out)
    result = experiment(view, space, limit, predictions=not no_predictions, scores=scores)
    listed = result.tables["issues"]
    if as_json:
        click.echo(for_programs(result))
    else:
        next_step = f"Next: lookalike label-issues {shlex.quote(collection)} --out DIR" if listed.num_rows else ""
        print_all(
            findings(result),
            shown(listed, _LISTED, listed.num_rows) if listed.num_rows else "",
            shown(result.tables["labels"], ["label", "images", "issues", "share"], 12),
            next_step if folder is None else "",
        )
    if folder is not None:
        from lookalike_indexer.charts.label_issues import label_issues_sheet

        if listed.num_rows:
            folder.save("label-issues", label_issues_sheet(result, folder.thumbnails(view)))
            suggestions = listed.select(["key", "suggested", "label", "score"])
            names = ["key", "label", "given_label", "score"]
            folder.save_table("label-issues", suggestions.rename_columns(names))
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
