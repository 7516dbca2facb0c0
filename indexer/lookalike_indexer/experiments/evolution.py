"""Changes of a model's spaces over its checkpoints: clusters, neighbors, classes, single images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Int32, Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.collection.metrics import NAMES, shared
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.checkpoint_steps import Step, steps_of
from lookalike_indexer.experiments.class_map import class_map as map_classes
from lookalike_indexer.experiments.class_map import digest_of_map
from lookalike_indexer.experiments.cluster_tracks import TrackedStep, churn, common_rows, track_clusters
from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import partial_notes
from lookalike_indexer.experiments.view import View

_NAN = float("nan")


def evolution(
    view: View,
    *,
    model: str = "",
    k: int = 10,
    sample: int = 2000,
    seed: int = 1234,
    class_map: Mapping[str, Sequence[str]] | None = None,
) -> Result:
    """Follow the clusterings of a model's checkpoints from step to step.

    Clusters of successive steps are matched to keep as many images together as possible (Kuhn 1955, the Hungarian
    method). Matched clusters are one track, and an image whose track changes has moved. Churn@k is the share of an
    image's k nearest neighbors that it did not have at the previous step. Neighbors are from the sample, by the metric
    of each step's space, see `collection.metrics`. Maps are two principal components, aligned to the previous step by
    Procrustes analysis. A label's purity is the share of its images in clusters whose most frequent label it is.
    `accuracy` covers the images of labels that stand for classes (see `class_map`): the share whose most probable class
    is one of these; NaN without such labels.

    Tables: steps, clusters, labels (if there are any), images, map (of at most `sample` images, drawn by `seed`, with
    each image's label and prediction). Raise NotBuiltError if there are fewer than two checkpoints, or one has no
    clustering. Raise UsageError if `k` or `sample` is out of range.
    """
    steps = steps_of(view, model)
    rows = common_rows(view, steps)
    if not 1 <= k < min(sample, len(rows)):
        raise UsageError(
            f"-k {k} must be at least 1 and less than the {min(sample, len(rows))} images that are compared."
        )
    sampled = np.sort(np.random.default_rng(seed).choice(len(rows), min(sample, len(rows)), replace=False))
    followed = track_clusters(view, steps, rows, sampled, k)
    labels = view.labels[rows]
    tables = {
        "steps": _steps_table(view, rows, followed, labels, class_map),
        "clusters": _clusters_table(view, followed, labels),
        "images": _images_table(view, rows, followed),
        "map": _map_table(view, rows, sampled, followed),
    }
    if (labels >= 0).any():
        tables["labels"] = _labels_table(view, followed, labels)
    settings: dict[str, Setting] = {
        "model": steps[0].model.split("@", 1)[0],
        "k": k,
        "sample": len(sampled),
        "seed": seed,
        "steps": [step.name for step in steps],
        "metric": shared(each.metric for each in followed),
        "class_map": digest_of_map(class_map),
    }
    partial = partial_notes(view, [step.clustering for step in steps])
    measured = _metric_sentence(followed)
    findings = (*_findings(tables, len(rows), len(sampled)), measured, *partial)
    return Result("evolution", settings, tables, _figures(tables, len(rows)), findings)


def trace(view: View, result: Result, row: int) -> pa.Table:
    """Return one image's steps of a result: step, cluster, track, the cluster's main label, class, probability."""
    clusters = result.tables["clusters"].to_pylist()
    by_place = {(line["step"], line["cluster"]): line for line in clusters}
    lines = []
    for step in steps_of(view, str(result.settings["model"])):
        cluster = int(view.assigned(step.clustering).clusters[row])
        place = by_place.get((step.name, cluster), {"track": -1, "main_label": ""})
        line = {"step": step.name, "cluster": cluster, "track": place["track"], "main_label": place["main_label"]}
        lines.append({**line, **_prediction(view, step, row)})
    return pa.Table.from_pylist(lines)


def _prediction(view: View, step: Step, row: int) -> dict[str, object]:
    try:
        predicted = view.predicted(step.model)
    except NotBuiltError:
        return {"prediction": "", "probability": _NAN}
    return {
        "prediction": predicted.names.get(int(predicted.classes[row, 0]), ""),
        "probability": float(predicted.probabilities[row, 0]),
    }


def _accuracy(view: View, rows: Int64, now: TrackedStep, written: Mapping[str, Sequence[str]] | None) -> float:
    """Return the share of images that a step assigns to a class of their label; NaN if no label stands for a class."""
    mapping = map_classes(view, now.step.model, written)
    labels = view.labels[rows]
    judged: npt.NDArray[np.bool_] = np.asarray((labels >= 0) & (now.predictions >= 0))
    judged[judged] = np.asarray(mapping.accepts.any(1))[labels[judged]]
    hits = mapping.hits(labels[judged], now.predictions[judged][:, None])
    return float(hits.mean()) if judged.any() else _NAN


def _steps_table(
    view: View, rows: Int64, followed: list[TrackedStep], labels: Int32, written: Mapping[str, Sequence[str]] | None
) -> pa.Table:
    lines = []
    for before, now in zip([None, *followed], followed, strict=False):
        against = agreement(contingency(labels, now.clusters))
        line: dict[str, object] = {
            "step": now.step.name,
            "space": now.step.space,
            "clustering": now.step.clustering,
            "metric": now.metric,
            "clusters": len(now.track_of),
            "purity": against.purity,
            "nmi": against.nmi,
            "accuracy": _accuracy(view, rows, now, written),
            "ari_before": _NAN,
            "moved": _NAN,
            "churn": _NAN,
            "predictions_changed": _NAN,
            "disparity": now.disparity,
        }
        if before:
            both = (before.predictions >= 0) & (now.predictions >= 0)
            changed = (before.predictions != now.predictions)[both]
            line |= {
                "ari_before": agreement(contingency(before.clusters, now.clusters)).ari,
                "moved": float((before.tracks != now.tracks).mean()),
                "churn": churn(before.neighbors, now.neighbors),
                "predictions_changed": float(changed.mean()) if both.any() else _NAN,
            }
        lines.append(line)
    return pa.Table.from_pylist(lines)


def _main_labels(clusters: Int32, labels: Int32, count: int) -> Int32:
    """Return the most frequent label of each cluster, the first by code among equals; -1 without labels."""
    known = labels >= 0
    codes = int(labels.max(initial=0)) + 1
    counts = np.bincount(clusters[known].astype(np.int64) * codes + labels[known], minlength=count * codes)
    counts = counts.reshape(count, codes)
    return np.where(counts.any(1), counts.argmax(1), -1).astype(np.int32)


def _pure(now: TrackedStep, labels: Int32) -> npt.NDArray[np.bool_]:
    """Return whether each image's label is the most frequent one of its cluster."""
    main = _main_labels(now.clusters, labels, len(now.track_of))
    pure: npt.NDArray[np.bool_] = (labels >= 0) & (main[now.clusters] == labels)
    return pure


def _clusters_table(view: View, followed: list[TrackedStep], labels: Int32) -> pa.Table:
    tables = []
    for before, now in zip([None, *followed], followed, strict=False):
        count = len(now.track_of)
        stayed = now.clusters[before.tracks == now.tracks] if before else now.clusters[:0]
        names = [*view.label_names, ""]
        columns = {
            "step": [now.step.name] * count,
            "cluster": np.arange(count, dtype=np.int32),
            "track": now.track_of,
            "size": np.bincount(now.clusters, minlength=count),
            "stayed": np.bincount(stayed, minlength=count),
            "main_label": [names[code] for code in _main_labels(now.clusters, labels, count).tolist()],
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _labels_table(view: View, followed: list[TrackedStep], labels: Int32) -> pa.Table:
    images = np.bincount(labels[labels >= 0], minlength=len(view.label_names))
    there = np.flatnonzero(images)
    tables = []
    for now in followed:
        pure = np.bincount(labels[_pure(now, labels)], minlength=len(images))
        columns = {
            "step": [now.step.name] * len(there),
            "label": [view.label_names[code] for code in there.tolist()],
            "images": images[there],
            "purity": pure[there] / images[there],
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _images_table(view: View, rows: Int64, followed: list[TrackedStep]) -> pa.Table:
    names = np.array([now.step.name for now in followed])
    columns: dict[str, object] = {"id": view.ids[rows]}
    for what, values in (
        ("cluster", [now.tracks for now in followed]),
        ("prediction", [now.predictions for now in followed]),
    ):
        flipped = np.stack([before != now for before, now in itertools.pairwise(values)])
        # The last step that changed it; the first step for values that never changed.
        last = np.where(flipped.any(0), len(flipped) - flipped[::-1].argmax(0), 0)
        columns |= {f"{what}_flips": flipped.sum(0), f"{what}_settled": names[last].tolist()}
    return pa.table(columns)


def _map_table(view: View, rows: Int64, sampled: Int64, followed: list[TrackedStep]) -> pa.Table:
    placed = rows[sampled]
    predictions: list[str] = []
    for now in followed:
        names = _class_texts(view, now)
        predictions += [names.get(index, "") for index in now.predictions[sampled].tolist()]
    return pa.table(
        {
            "step": np.repeat([now.step.name for now in followed], len(placed)).tolist(),
            "id": np.tile(view.ids[placed], len(followed)),
            "label": view.label_texts(placed) * len(followed),
            "prediction": pa.array(predictions, pa.string()),
            "x": np.concatenate([now.positions[:, 0] for now in followed]),
            "y": np.concatenate([now.positions[:, 1] for now in followed]),
        }
    )


def _class_texts(view: View, now: TrackedStep) -> dict[int, str]:
    try:
        return view.predicted(now.step.model).names
    except NotBuiltError:
        return {}


def _figures(tables: dict[str, pa.Table], images: int) -> dict[str, float]:
    steps = tables["steps"].to_pylist()
    figures = {"images": float(images), "steps": float(len(steps))}
    for name in ("purity", "nmi", "accuracy"):
        figures |= {f"{name}_first": steps[0][name], f"{name}_last": steps[-1][name]}
    for name in ("moved", "churn", "predictions_changed"):
        figures[f"{name}_last"] = steps[-1][name]
    # Values that could not be measured, without labels or predictions, are left out here and in stored results.
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _metric_sentence(followed: list[TrackedStep]) -> str:
    used = list(dict.fromkeys(now.metric for now in followed))
    if len(used) == 1:
        return f"Neighbors and maps are by {NAMES[used[0]]} distance."
    by = "; ".join(f"{NAMES[each]} at {', '.join(f.step.name for f in followed if f.metric == each)}" for each in used)
    return f"Neighbors and maps are by the distance of each step's space: {by}."


def _findings(tables: dict[str, pa.Table], images: int, sampled: int) -> tuple[str, ...]:
    steps = tables["steps"].to_pylist()
    largest = max(range(1, len(steps)), key=lambda number: steps[number]["moved"])
    found = [
        f"Most images changed clusters at {steps[largest]['step']}: {steps[largest]['moved']:.1%} of {images:,}; "
        f"at the end, {steps[-1]['step']}, {steps[-1]['moved']:.1%}."
    ]
    if math.isfinite(steps[0]["accuracy"]) and math.isfinite(steps[-1]["accuracy"]):
        found.append(f"Accuracy went from {steps[0]['accuracy']:.3f} to {steps[-1]['accuracy']:.3f}.")
    if "labels" in tables:
        found.append(f"Purity went from {steps[0]['purity']:.3f} to {steps[-1]['purity']:.3f}.")
        by_label: dict[str, list[float]] = {}
        for line in tables["labels"].to_pylist():
            by_label.setdefault(line["label"], []).append(line["purity"])
        gained = max(by_label, key=lambda label: by_label[label][-1] - by_label[label][0])
        lost = min(by_label, key=lambda label: by_label[label][-1] - by_label[label][0])
        for label, what in {gained: "gained", lost: "lost"}.items():
            first, last = by_label[label][0], by_label[label][-1]
            if (last > first) == (what == "gained") and last != first:
                found.append(f"{label} {what} most: its purity went from {first:.2f} to {last:.2f}.")
    if sampled < images:
        found.append(f"Churn and maps are those of a random sample of {sampled:,} images.")
    return tuple(found)
