"""`lookalike leaks`: list images of one split with near-duplicates in another split."""

from __future__ import annotations

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
from lookalike_indexer.cli.near_options import max_distance_option
from lookalike_indexer.cli.out_folder import open_out


@click.command(cls=CollectionCommand)
@collection_option
@click.option(
    "--split", required=True, metavar="COLUMN", help="The column that says the split: an attribute, or label."
)
@space_option
@max_distance_option
@click.option("--limit", type=click.IntRange(min=1), help="Pairs to list, the nearest first.  [default: all]")
@keep_option
@out_option
@csv_option("splits", "pairs_of_splits", "leaks")
@json_option
@reported
def leaks(
    collection: str,
    split: str,
    space: str,
    max_distance: float | None,
    limit: int | None,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """List the images of one split of the collection in DIR that have near-duplicates in another, nearest first.

    Attach a column that says train, valid or test with `lookalike attach`. Near-duplicates come from the graph that
    `lookalike graph` made, by the rules of `lookalike duplicates`. --out draws the pairs.
    """
    from lookalike_indexer.experiments.leaks import leaks as experiment

    view, folder = open_view(collection), open_out(out)
    result = experiment(view, split, space, max_distance, limit)
    listed = result.tables["leaks"]
    if as_json:
        click.echo(for_programs(result))
    else:
        print_all(
            findings(result),
            shown(result.tables["splits"], ["split", "images", "leaked", "share"]),
            shown(
                listed,
                ["rank", "distance", "exact", "by_hash", "split", "key", "other_split", "other_key"],
                metric=result.settings["metric"],
            )
            if len(listed)
            else "",
        )
    if folder is not None:
        from lookalike_indexer.charts.leaks import leaks_montage

        if len(listed):
            folder.save("leaks", leaks_montage(result, folder.thumbnails(view)))
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
