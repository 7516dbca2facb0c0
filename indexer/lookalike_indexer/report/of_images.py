"""Chapters about single images: one through all spaces, the odd ones, a misclassified one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from lookalike_indexer.errors import IndexerError
from lookalike_indexer.report.chapter import Content
from lookalike_indexer.report.context import Context
from lookalike_indexer.report.inline import Picture

if TYPE_CHECKING:
    from lookalike_indexer.charts.explanation import Drawn
    from lookalike_indexer.experiments.result import Result

# Montages of more clusterings are left to `lookalike show`.
_MONTAGES = 4


def through_spaces(context: Context) -> Content:
    from lookalike_indexer.charts.image_clusters import agreement_figure, cluster_montages
    from lookalike_indexer.experiments.image_clusters import image_clusters

    result = image_clusters(context.view, context.row, members=11)
    default = context.view.reader.manifest.default_space
    montages = sorted(
        cluster_montages(result, context.row, context.thumbnails),
        # Checkpoints have a separate chapter.
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
    return Content(result, tables, pictures)


def oddball_chapter(context: Context) -> Content:
    from lookalike_indexer.charts.oddballs import oddball_montage
    from lookalike_indexer.experiments.oddballs import oddballs

    result = oddballs(context.view, limit=30)
    tables = {
        "oddballs": ["rank", "key", "label", "looks_like", "why", "score", "distance"],
        "labels": ["label", "images", "odd", "outside", "secondary", "far", "nearer"],
    }
    return Content(result, tables, [("Oddballs beside typical images", oddball_montage(result, context.thumbnails))])


def mistaken(context: Context) -> Content:
    """Compare the default space's model with the labels that stand for its classes."""
    from lookalike_indexer.charts.mistakes import confusion_figure, mistakes_sheet
    from lookalike_indexer.experiments.mistakes import mistakes, with_unknown_ranks

    result = context.stored_result("mistakes") or mistakes(context.view, limit=40)
    pictures: list[tuple[str, Picture]] = [("Labels by predicted classes", confusion_figure(result))]
    if result.tables["mistakes"].num_rows:
        sheet = mistakes_sheet(result, context.thumbnails)
        pictures.append(("The misclassified images, the most confident first", sheet))
    tables = {
        "labels": ["label", "images", "wrong", "accuracy", "most_wrong", "most_wrong_count"],
        "mistakes": ["rank", "label", "class", "probability", "label_rank", "key"],
        "confusion": ["label", "class", "count", "share", "right"],
        "unmapped": ["label", "images"],
    }
    readable = {**result.tables, "mistakes": with_unknown_ranks(result.tables["mistakes"])}
    return Content(dataclasses.replace(result, tables=readable), tables, pictures)


def explained(context: Context) -> Content:
    from lookalike_indexer.charts.explanation import explanation_sheet
    from lookalike_indexer.experiments.explain import explain

    result = explain(context.view, context.row)
    drawn, left_out = _attributions(context, result)
    sheet = explanation_sheet(
        result,
        context.thumbnails.picture(context.row),
        lambda image_id: context.thumbnails.picture(context.view.row_of_id(image_id)),
        drawn,
    )
    tables = {
        "predictions": ["model", "rank", "class_index", "class", "probability", "of_label"],
        "nearest": ["group", "rank", "label", "distance", "cluster", "key"],
        "clusters": ["clustering", "cluster", "size", "main_label", "main_share", "own_share"],
    }
    return Content(result, tables, [("The image, the class that it is taken for, and its own", sheet)], left_out)


def _attributions(context: Context, result: Result) -> tuple[Drawn, list[str]]:
    """Return Grad-CAM and guided backpropagation, if the network and its weights allow them, and the reasons if not."""
    from lookalike_indexer.attribution.attributor import METHODS
    from lookalike_indexer.attribution.drawn import drawn_attributions
    from lookalike_indexer.attribution.opened import OpenedModel

    try:
        opened = OpenedModel(context.view.reader, str(result.settings["model"]))
        pixels = opened.pixels(context.view.uris(np.array([context.row]))[0])
        found = drawn_attributions(opened, pixels, result, METHODS)
    except IndexerError as error:
        return {}, [f"Not drawn, --cam and --gbp: {error}"]
    reasons: dict[str, list[str]] = {}
    for method, reason in found.lacking.items():
        reasons.setdefault(reason, []).append(f"--{method}")
    return found.drawn, [f"Not drawn, {' and '.join(names)}: {reason}" for reason, names in reasons.items()]
