"""`lookalike compare`: compare spaces and clustering strategies."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    csv_option,
    experiment_options,
    findings,
    for_programs,
    keep_option,
    keep_result,
    named_list,
    open_view,
    print_all,
    sample_option,
    seed_option,
    shown,
)
from lookalike_indexer.cli.out_folder import open_out
from lookalike_indexer.collection.metrics import BY_SPACE

if TYPE_CHECKING:
    import pyarrow as pa

    from lookalike_indexer.experiments.result import Result

_SHOWN = [
    "space",
    "strategy",
    "stored",
    "k",
    "purity",
    "nmi",
    "ari",
    "v_measure",
    "metric",
    "silhouette",
    "seconds",
    "MiB",
]


@click.command(cls=CollectionCommand)
@click.option("--spaces", default="", metavar="A,B", help="The embedding spaces.  [default: all]")
@click.option(
    "--strategies",
    default="",
    metavar="A,B",
    help="Of kmeans, spherical, bisecting, agglomerative and whitened.  [default: all]",
)
@click.option(
    "--clusters",
    type=click.IntRange(min=2),
    metavar="K",
    help="Number of clusters.  [default: as lookalike cluster, but no more than a sample can fill]",
)
@sample_option
@seed_option
@keep_option
@csv_option("scores", "costs")
@experiment_options
@reported
def compare(
    collection: str,
    spaces: str,
    strategies: str,
    clusters: int | None,
    sample: int,
    seed: int,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Cluster the same images in several spaces by several strategies, and measure each.

    Stored clusterings are measured beside them: the current one of each space,
    and those of as many clusters. The last line says how to store the best.
    Seconds and memory are those of this run on this machine: --keep leaves
    them out, so that what is kept is the same each time. --out draws a chart.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.experiments.compare import COSTS
    from lookalike_indexer.experiments.compare import compare as experiment

    view, folder = open_view(collection), open_out(out)
    result = experiment(
        view,
        spaces=named_list(spaces),
        strategies=named_list(strategies),
        clusters=clusters,
        sample=sample,
        seed=seed,
        progress=TerminalProgress(),
    )
    if as_json:
        click.echo(for_programs(result))
    else:
        table = _with_costs(result.tables["scores"], result.tables[COSTS])
        print_all(findings(result), shown(table, _shown(result), table.num_rows, result.settings["metric"]))
    if folder is not None:
        from lookalike_indexer.charts.scores import comparison_chart

        folder.save("compare", comparison_chart(result))
        folder.print_summary(as_json)
    lasting = {name: table for name, table in result.tables.items() if name != COSTS}
    keep_result(view, dataclasses.replace(result, tables=lasting), keep, as_json)


def _shown(result: Result) -> list[str]:
    """Return the columns to print, with the metric if the spaces have different ones."""
    same = result.settings["metric"] != BY_SPACE
    return [name for name in _SHOWN if name != "metric" or not same]


def _with_costs(scores: pa.Table, costs: pa.Table) -> pa.Table:
    """Add the time and memory of each run to the scores, in the same order. They are null for stored clusterings."""
    import pyarrow as pa

    taken = iter(costs.to_pylist())
    lines = [None if line["stored"] else next(taken) for line in scores.to_pylist()]
    seconds = pa.array([line and line["seconds"] for line in lines], pa.float64())
    mebibytes = pa.array([line and line["peak_bytes"] / 2**20 for line in lines], pa.float64())
    return scores.append_column("seconds", seconds).append_column("MiB", mebibytes)
