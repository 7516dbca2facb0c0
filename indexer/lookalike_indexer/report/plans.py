"""The chapters of the report, in the order of the workflows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lookalike_indexer.errors import IndexerError
from lookalike_indexer.report.chapter import Made, Plan
from lookalike_indexer.report.context import Context
from lookalike_indexer.report.inline import Picture

if TYPE_CHECKING:
    from lookalike_indexer.experiments.result import Result
    from lookalike_indexer.pictures.explanation import Overlay

# Montages of more clusterings than this are left to `lookalike show`.
_MONTAGES = 4


def _show(context: Context) -> Made:
    from lookalike_indexer.experiments.image_clusters import image_clusters
    from lookalike_indexer.pictures.image_clusters import agreement_figure, cluster_montages

    result = image_clusters(context.view, context.row, members=11)
    default = context.view.reader.manifest.default_space
    montages = sorted(
        cluster_montages(result, context.row, context.thumbnails),
        # Checkpoints have a chapter of their own.
        key=lambda pair: (not pair[0].startswith(f"{default}/"), "@" in pair[0]),
    )
    pictures: list[tuple[str, Picture]] = [
        (f"The image and its nearest fellow members in {name}", drawn) for name, drawn in montages[:_MONTAGES]
    ]
    figure = agreement_figure(result)
    if figure is not None:
        pictures.append(("How far the clusterings agree", figure))
    tables = {
        "clusters": ["clustering", "cluster", "size", "distance", "label", "purity", "own_share"],
        "predictions": ["model", "rank", "class", "probability"],
    }
    return Made(result, tables, pictures)


def _matrix(context: Context) -> Made:
    from lookalike_indexer.experiments.matrix import class_matrix
    from lookalike_indexer.pictures.matrix import matrix_figures

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
    return Made(result, tables, pictures)


def _explain(context: Context) -> Made:
    from lookalike_indexer.experiments.explain import explain
    from lookalike_indexer.pictures.explanation import explanation_sheet

    result = explain(context.view, context.row)
    sheet = explanation_sheet(
        result,
        context.thumbnails.picture(context.row),
        lambda image_id: context.thumbnails.picture(context.view.row_of_id(image_id)),
        _overlays(context, result),
    )
    tables = {
        "predictions": ["model", "rank", "class", "probability", "of_label"],
        "nearest": ["group", "rank", "label", "distance", "cluster", "key"],
        "clusters": ["clustering", "cluster", "size", "main_label", "main_share", "own_share"],
    }
    return Made(result, tables, [("The image, the class that it is taken for, and its own", sheet)])


def _overlays(context: Context, result: Result) -> list[Overlay]:
    """Grad-CAM and guided backpropagation, as far as the network and its weights are to be had."""
    from lookalike_indexer.attribution.attributor import METHODS
    from lookalike_indexer.attribution.drawn import drawn_attributions

    drawn: list[Overlay] = []
    for method in METHODS:
        with contextlib.suppress(IndexerError):
            drawn += drawn_attributions(context.view, context.row, result, [method])
    return drawn


def _evolution(context: Context) -> Made:
    from lookalike_indexer.experiments.evolution import evolution
    from lookalike_indexer.pictures.evolution import evolution_chart

    result = context.kept("evolution") or evolution(context.view, seed=context.asked.seed)
    tables = {
        "steps": ["step", "clusters", "purity", "nmi", "ari_before", "moved", "churn", "predictions_changed"],
        "labels": ["step", "label", "images", "purity"],
    }
    there = {name: columns for name, columns in tables.items() if name in result.tables}
    return Made(result, there, [("Its measures by step, and the maps of its steps, aligned", evolution_chart(result))])


PLANS = (
    Plan(
        1,
        "Clusters of an image through the spaces",
        "lookalike show KEY",
        "One image, the cluster that it is in in each clustering, and how far the clusterings agree.",
        _show,
    ),
    Plan(
        3,
        "Classes and clusters",
        "lookalike matrix",
        "Which classes are in which clusters, which straddle several, and which share one.",
        _matrix,
    ),
    Plan(
        8,
        "Explaining a misclassification",
        "lookalike explain KEY --cam --gbp",
        "An image beside those of the class that it is taken for, and those of its own.",
        _explain,
    ),
    Plan(
        9,
        "Evolution over training",
        "lookalike evolution",
        "The checkpoints of a model: which images change groups, neighbours and classes from step to step.",
        _evolution,
    ),
)
