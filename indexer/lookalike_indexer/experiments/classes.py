"""Accuracy of models for each class, and the classes that all of them know well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Float64, Int64
from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.class_map import ClassMap, digest_of_map
from lookalike_indexer.experiments.class_map import class_map as map_classes
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View, shortened_list

AccuracyMetric = Literal["top1", "top5"]
# Images that are counted at a time: the temporary data of each are several times larger than the stored data.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class _Counted:
    """A model's images and hits by label code, int64 (labels,)."""

    model: str
    classes: ClassMap
    images: Int64
    top1: Int64
    top5: Int64

    def accuracy(self, metric: AccuracyMetric) -> Float64:
        """Return the accuracy by label, NaN if the model has no image of it, or the label no class."""
        hits = self.top1 if metric == "top1" else self.top5
        shares: Float64 = np.divide(hits, self.images, out=np.full(len(hits), np.nan), where=self.images > 0)
        return shares


def class_accuracies(
    view: View,
    models: Sequence[str] = (),
    *,
    metric: AccuracyMetric = "top1",
    best: int = 20,
    class_map: Mapping[str, Sequence[str]] | None = None,
) -> Result:
    """Return the accuracy of each model for each label, and the labels among the best `best` of every model.

    An empty `models` means all that keep predictions. An image counts as correct if its label stands for the model's
    first class (top1) or one of its first five (top5). `class_map`, or the names, determine the classes of a label, see
    the module of that name. Labels that tie with the last of the best are included.

    Tables: accuracies (label, model, class, rule, images, top1, top5), best (label, images, lowest, mean; by the lowest
    accuracy of any model) and unmapped (model, label, images). Raise NotBuiltError if there are no labels, no
    predictions, or no label that stands for a class. Raise NotFoundError if the model does not exist.
    """
    view.require_labels()
    if best < 1:
        raise UsageError(f"--best {best}: give at least 1.")
    if metric not in ("top1", "top5"):
        raise UsageError(f"--metric {metric}: give top1 or top5.")
    counted, left_out = _all_counted(view, models, class_map)
    accuracies = np.stack([each.accuracy(metric) for each in counted])
    good = np.flatnonzero(_among_best(accuracies, best).all(0))
    lowest = accuracies[:, good].min(0)
    # By the lowest accuracy, and by name among equals; codes are in the order of names.
    order = np.lexsort((good, -lowest))
    good, lowest = good[order], lowest[order]
    tables = {
        "accuracies": _accuracies_table(view, counted),
        "best": pa.table(
            {
                "label": pa.array([view.label_names[code] for code in good.tolist()], pa.string()),
                "images": np.max([each.images for each in counted], axis=0)[good],
                "lowest": lowest,
                "mean": accuracies[:, good].mean(0),
            }
        ),
        "unmapped": _unmapped_table(view, counted),
    }
    settings: dict[str, Setting] = {
        "models": [each.model for each in counted],
        "metric": metric,
        "best": best,
        "class_map": digest_of_map(class_map),
    }
    figures = {"labels": float(len(view.label_names)), "in_all": float(len(good))}
    for each in counted:
        images = int(each.images.sum())
        figures |= {f"{each.model}.images": images, f"{each.model}.top1": each.top1.sum() / images}
        figures |= {f"{each.model}.top5": each.top5.sum() / images}
    figures = {name: float(value) for name, value in figures.items()}
    return Result(
        "class_accuracies", settings, tables, figures, (*_findings(view, counted, good, metric, best), *left_out)
    )


def _all_counted(
    view: View, models: Sequence[str], class_map: Mapping[str, Sequence[str]] | None
) -> tuple[list[_Counted], list[str]]:
    """Return the counts of each model; models that were not requested may be left out, with a sentence that explains
    it.

    Raise NotBuiltError if no label stands for a class of a requested model, or of any model.
    """
    counted: list[_Counted] = []
    failed: list[NotBuiltError] = []
    for model in _checked_models(view, models):
        try:
            counted.append(_counted(view, model, class_map))
        except NotBuiltError as error:
            if models:
                raise
            failed.append(error)
    if not counted:
        raise failed[-1]
    return counted, [f"Left out: {error}" for error in failed]


def _checked_models(view: View, models: Sequence[str]) -> list[str]:
    if models:
        return list(dict.fromkeys(models))
    there = [
        name
        for name in sorted(view.reader.manifest.models, key=natural)
        if view.reader.manifest.models[name].predictions
    ]
    if not there:
        raise NotBuiltError(
            f"No model of the collection {view.reader.name} keeps predictions; embed with a model that classifies."
        )
    return there


def _counted(view: View, model: str, written: Mapping[str, Sequence[str]] | None) -> _Counted:
    predicted = view.predicted(model)
    classes = map_classes(view, model, written)
    images, top1, top5 = np.zeros((3, len(view.label_names)), np.int64)
    for start in range(0, len(view), _BLOCK):
        codes, seen = view.labels[start : start + _BLOCK], predicted.classes[start : start + _BLOCK]
        known = (codes >= 0) & (seen[:, 0] >= 0)
        codes = codes[known]
        hits = classes.hits(codes, seen[known])
        for sums, those in ((images, codes), (top1, codes[hits[:, 0]]), (top5, codes[hits[:, :5].any(1)])):
            sums += np.bincount(those, minlength=len(sums))
    images = np.where(classes.accepts.any(1), images, 0)
    if not images.any():
        raise NotBuiltError(
            f"No label of the collection {view.reader.name} is the name of a class of {model} "
            f"(labels: {shortened_list(view.label_names, 5)}; classes: {shortened_list(classes.names, 5)}); "
            f"{classes.remedy}."
        )
    return _Counted(model, classes, images, top1, top5)


def _among_best(accuracies: Float64, best: int) -> npt.NDArray[np.bool_]:
    """Return whether fewer than `best` labels are better, for each model and label; bool (models, labels)."""
    known = np.isfinite(accuracies)
    comparable = np.where(known, accuracies, -1)
    last = np.sort(comparable, axis=1)[:, ::-1][:, min(best, accuracies.shape[1]) - 1]
    return known & (comparable >= last[:, None])


def _accuracies_table(view: View, counted: list[_Counted]) -> pa.Table:
    lines = []
    for code, label in enumerate(view.label_names):
        for each in counted:
            if each.images[code]:
                images = int(each.images[code])
                names = [each.classes.names[index] for index in each.classes.classes_of(code)]
                lines.append(
                    {
                        "label": label,
                        "model": each.model,
                        "class": " or ".join(names),
                        "rule": each.classes.rules[code],
                        "images": images,
                        "top1": int(each.top1[code]) / images,
                        "top5": int(each.top5[code]) / images,
                    }
                )
    return pa.Table.from_pylist(lines)


def _unmapped_table(view: View, counted: list[_Counted]) -> pa.Table:
    sizes = np.bincount(view.labels[view.labels >= 0], minlength=len(view.label_names))
    pairs = [(each.model, label) for each in counted for label in each.classes.unmapped]
    columns = {
        "model": pa.array([model for model, _ in pairs], pa.string()),
        "label": pa.array([label for _, label in pairs], pa.string()),
        "images": pa.array([int(sizes[view.label_names.index(label)]) for _, label in pairs], pa.int64()),
    }
    return pa.table(columns)


def _findings(view: View, counted: list[_Counted], good: Int64, metric: AccuracyMetric, best: int) -> tuple[str, ...]:
    found = []
    for each in counted:
        images = int(each.images.sum())
        found.append(
            f"{each.model}: top-1 {each.top1.sum() / images:.3f}, top-5 {each.top5.sum() / images:.3f} "
            f"over {images:,} images of {np.count_nonzero(each.images)} labels."
        )
        unmapped = each.classes.unmapped
        if unmapped:
            found.append(
                f"Left out, because they are no classes of {each.model}: {shortened_list(unmapped)}; "
                "say by a class map what they stand for."
            )
    names = [view.label_names[code] for code in good.tolist()]
    what = "" if len(counted) == 1 else "all of "
    told = shortened_list(names) if names else "none"
    models = ", ".join(each.model for each in counted)
    found.append(f"{len(names)} classes are in the best {best} by {metric} of {what}{models}: {told}.")
    if not all(view.reader.model(each.model).spec.weights.pretrained for each in counted):
        found.append("UNTRAINED weights: their predictions mean nothing.")
    return tuple(found)
