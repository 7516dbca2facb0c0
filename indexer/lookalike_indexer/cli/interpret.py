"""`lookalike interpret`: describe each cluster."""

from __future__ import annotations

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    class_names_option,
    clustering_option,
    csv_option,
    experiment_options,
    findings,
    for_programs,
    keep_option,
    keep_result,
    open_view,
    print_all,
    seed_option,
    shown,
)


@click.command(cls=CollectionCommand)
@clustering_option
@click.option("--samples", type=click.IntRange(1, 100), default=5, show_default=True, help="Samples of each kind.")
@seed_option
@keep_option
@class_names_option
@csv_option("clusters", "samples")
@experiment_options
@reported
def interpret(
    collection: str,
    clustering: str,
    samples: int,
    seed: int,
    class_names: str,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Tell what each cluster is about: a suggested name, with central, borderline and random samples.

    Names come from labels, or from what the model takes the images for where
    there are none. --out draws the samples with the names as sheets.
    """
    from lookalike_indexer.cli.out_folder import open_out
    from lookalike_indexer.experiments.interpret import interpret_clusters

    view, folder = open_view(collection, class_names), open_out(out)
    result = interpret_clusters(view, clustering, samples, seed)
    if as_json:
        click.echo(for_programs(result))
    else:
        print_all(findings(result), shown(result.tables["clusters"], ["cluster", "size", "name", "share", "lift"], 100))
    if folder is not None:
        from lookalike_indexer.charts.interpret import interpretation_sheets

        for name, picture in interpretation_sheets(result, folder.thumbnails(view)):
            folder.save(name, picture)
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
