"""`lookalike dendrogram`: show a model's predicted classes as a tree."""

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
    shown,
)
from lookalike_indexer.cli.out_folder import open_out


@click.command(cls=CollectionCommand)
@click.option("--model", default="", metavar="NAME", help="The model.  [default: that of the default space]")
@click.option(
    "--word-vectors",
    default="",
    type=click.Path(),
    metavar="FILE",
    help="Vectors of words, as GloVe and word2vec write them as text.  [default: the classifier's own weights]",
)
@click.option(
    "--clusters",
    type=click.IntRange(min=2),
    default=None,
    metavar="K",
    help="Groups to cut the tree into.  [default: as many as have the highest silhouette]",
)
@click.option(
    "--most", type=click.IntRange(min=3), default=100, show_default=True, help="Classes in the tree, the most frequent."
)
@click.option("--weights", type=click.Path(), metavar="FILE", help="Current path of the model's weights.")
@keep_option
@class_names_option
@csv_option("classes", "merges", "misses")
@experiment_options
@reported
def dendrogram(
    collection: str,
    model: str,
    word_vectors: str,
    clusters: int | None,
    most: int,
    weights: str | None,
    class_names: str,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Put the classes that a model sees in the images into a tree, and cut it into groups.

    Another way to a number of clusters: by what the classes mean, not by what
    the images look like. --out draws the tree with the cut.
    """
    from lookalike_indexer.experiments.label_tree import label_tree

    view, folder = open_view(collection, class_names), open_out(out)
    result = label_tree(
        view, model=model, word_vectors=word_vectors, clusters=clusters or 0, most=most, weights_file=weights
    )
    if as_json:
        click.echo(for_programs(result))
    else:
        columns = ["cluster", "class", "images"] + (["vector"] if word_vectors else [])
        print_all(findings(result), shown(result.tables["classes"], columns, most=most))
    if folder is not None:
        from lookalike_indexer.charts.dendrogram import tree_figure

        folder.save("dendrogram", tree_figure(result))
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
