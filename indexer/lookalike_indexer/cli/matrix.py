"""`lookalike matrix`: count the images of each class in each cluster."""

from __future__ import annotations

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    clustering_option,
    csv_option,
    experiment_options,
    findings,
    for_programs,
    keep_option,
    keep_result,
    open_view,
    print_all,
    shown,
    where_option,
)


@click.command(cls=CollectionCommand)
@clustering_option
@where_option
@keep_option
@csv_option("counts", "labels", "clusters", "secondary")
@experiment_options
@reported
def matrix(collection: str, clustering: str, where: str, keep: str | None, out: str | None, as_json: bool) -> None:
    """Count the images of each class in each cluster, with purity, NMI, ARI and V-measure.

    Says the main clusters of each class, which classes straddle clusters and
    which share one. --out draws a heatmap and two bar charts.
    """
    from lookalike_indexer.cli.out_folder import open_out
    from lookalike_indexer.experiments.matrix import class_matrix

    view, folder = open_view(collection), open_out(out)
    result = class_matrix(view, clustering, where)
    if as_json:
        click.echo(for_programs(result))
    else:
        labels, clusters = result.tables["labels"], result.tables["clusters"]
        print_all(
            findings(result),
            shown(labels.sort_by("share"), ["label", "images", "main_clusters", "share", "spread", "shares_with"]),
            shown(clusters.sort_by("position"), ["cluster", "size", "label", "purity", "labels"]),
            f"V-measure {result.figures['v_measure']:.3f}, homogeneity {result.figures['homogeneity']:.3f}, "
            f"completeness {result.figures['completeness']:.3f}",
        )
    if folder is not None:
        from lookalike_indexer.charts.matrix import matrix_figures

        for name, figure in matrix_figures(result).items():
            folder.save(name, figure)
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
