"""`lookalike choose-k`: recommend a number of clusters."""

from __future__ import annotations

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    class_names_option,
    csv_option,
    experiment_options,
    findings,
    for_programs,
    keep_option,
    keep_result,
    open_view,
    print_all,
    sample_option,
    seed_option,
    shown,
    space_option,
)
from lookalike_indexer.cli.out_folder import open_out


@click.command("choose-k", cls=CollectionCommand)
@space_option
@click.option("--from", "first", type=click.IntRange(min=2), default=2, show_default=True, help="Fewest clusters.")
@click.option("--to", "last", type=click.IntRange(min=2), default=64, show_default=True, help="Most clusters.")
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of runs for each number of clusters.",
)
@sample_option
@seed_option
@keep_option
@class_names_option
@csv_option("k", "rules", "routes", "suggestions")
@experiment_options
@reported
def choose_k(
    collection: str,
    space: str,
    first: int,
    last: int,
    seeds: int,
    sample: int,
    seed: int,
    class_names: str,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Cluster into different numbers of clusters, measure each, and recommend one.

    The measures are inertia with its elbow, silhouette, Davies-Bouldin,
    Calinski-Harabasz, and the similarity of the clusters of different seeds. Up
    to three numbers are suggested: peaks of the silhouette, the communities of
    the graph of nearest neighbors, and the numbers of classes and meanings that
    a trained model sees. --out draws one chart.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.experiments.choose_k import choose_k as experiment

    view, folder = open_view(collection, class_names), open_out(out)
    result = experiment(
        view,
        space=space,
        first=first,
        last=last,
        sample=sample,
        seeds=seeds,
        seed=seed,
        progress=TerminalProgress(),
    )
    if as_json:
        click.echo(for_programs(result))
    else:
        table = result.tables["k"]
        print_all(findings(result), shown(table, table.column_names, table.num_rows, result.settings["metric"]))
    if folder is not None:
        from lookalike_indexer.charts.choose_k import choose_k_chart

        folder.save("choose-k", choose_k_chart(result))
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
