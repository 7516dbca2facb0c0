"""Chapters about classes and clusters: their overlap, the clusters within one class, the meaning of each cluster."""

from __future__ import annotations

from lookalike_indexer.report.chapter import Content
from lookalike_indexer.report.context import Context

# The number of drawn sheets, of 25 clusters each.
_SHEETS = 2


def known_classes(context: Context) -> Content:
    """Show the accuracy of each model for each class; models without a class that a label stands for are left out."""
    from lookalike_indexer.charts.scores import accuracies_chart
    from lookalike_indexer.experiments.classes import class_accuracies

    view = context.view
    # If there are few classes, list half of them, because all would be among the best.
    result = class_accuracies(view, best=max(1, min(20, len(view.label_names) // 2)))
    tables = {"best": ["label", "images", "lowest", "mean"], "unmapped": ["model", "label", "images"]}
    return Content(result, tables, [("How often each model is right about each class", accuracies_chart(result))])


def classes_and_clusters(context: Context) -> Content:
    from lookalike_indexer.charts.matrix import matrix_figures
    from lookalike_indexer.experiments.matrix import class_matrix

    result = class_matrix(context.view)
    captions = {
        "matrix": "Images of each class in each cluster",
        "clusters": "What each cluster is made of",
        "classes": "Where each class went",
    }
    pictures = [(captions.get(name, name), figure) for name, figure in matrix_figures(result).items()]
    tables = {
        "labels": ["label", "images", "main_clusters", "share", "spread", "shares_with"],
        "clusters": ["cluster", "size", "label", "purity", "labels"],
    }
    return Content(result, tables, pictures)


def within_a_class(context: Context) -> Content:
    from lookalike_indexer.charts.split import split_montages
    from lookalike_indexer.experiments.split import split_label

    result = split_label(context.view, context.label, seed=context.asked.seed)
    pictures = [
        (f"Sub-cluster {name.rpartition('-')[2]}", drawn) for name, drawn in split_montages(result, context.thumbnails)
    ]
    tables = {
        "subclusters": ["subcluster", "size", "silhouette", "distance", "around"],
        "ks": ["k", "silhouette", "inertia"],
    }
    return Content(result, tables, pictures)


def interpreted(context: Context) -> Content:
    """Show samples and the name of each cluster."""
    from lookalike_indexer.charts.interpret import interpretation_sheets
    from lookalike_indexer.experiments.interpret import interpret_clusters

    result = interpret_clusters(context.view, samples=3, seed=context.asked.seed)
    sheets = list(interpretation_sheets(result, context.thumbnails))
    left_out = [f"Drawn: {_SHEETS} of {len(sheets)} sheets; lookalike interpret --out DIR draws all."]
    return Content(
        result,
        {"clusters": ["cluster", "size", "name", "share", "lift"]},
        [("Samples of each cluster", drawn) for _, drawn in sheets[:_SHEETS]],
        left_out if len(sheets) > _SHEETS else [],
    )
