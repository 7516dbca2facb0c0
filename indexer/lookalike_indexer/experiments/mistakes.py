"""Classes that a model confuses, and the misclassified images, most confident first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.class_map import ClassMap, digest_of_map
from lookalike_indexer.experiments.class_map import class_map as map_classes
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import Predicted, View, shortened_list

# Images that are judged at a time.
_BLOCK = 1 << 16


def mistakes(
    view: View,
    model: str = "",
    *,
    label: str = "",
    limit: int = 60,
    class_map: Mapping[str, Sequence[str]] | None = None,
) -> Result:
    """Count the predicted classes of each label, and list the misclassified images, most confident first.

    `model` "" means that of the default space. An image is misclassified if its label does not stand for the model's
    most probable class; see `class_map`. Images without a label, images of labels that stand for no class, and images
    that the model did not see are counted, but not judged. `label` restricts the result to the images of one label;
    `limit` bounds the list, not the counts.

    Tables:

    - confusion: label, class_index, class, count, share (of the label's images), right; by label, the highest count
      first
    - labels: label, images, wrong, accuracy, most_wrong (the most frequent wrong class, "" for none), most_wrong_count;
      the lowest accuracy first
    - mistakes: rank, id, key, label, class_index, class, probability, label_rank and label_probability (of the most
      probable class that the label stands for; 0 and NaN if none was kept)
    - unmapped: label, images

    Raise NotBuiltError if there are no labels, no predictions, or no label that stands for a class. Raise NotFoundError
    if the model or label does not exist. Raise UsageError if the limit is below 1.
    """
    view.require_labels()
    if limit < 1:
        raise UsageError(f"--limit {limit}: give at least 1.")
    code = view.label_code(label) if label else None
    label = label if code is None else view.label_names[code]
    model = model or view.reader.space()[1].model
    predicted, classes = view.predicted(model), map_classes(view, model, class_map)
    mapped: Bools = np.asarray(classes.accepts.any(1))
    asked: Bools = np.asarray(view.labels >= 0 if code is None else view.labels == code)
    seen = predicted.classes[:, 0] >= 0
    judged: Bools = np.asarray(asked & seen & mapped[view.labels])
    if not judged.any():
        raise NotBuiltError(_nothing(view, model, label, classes))
    right = judged & _right(view, predicted, classes)
    wrong = np.flatnonzero(judged & ~right)
    # The most confident first; by id among equals.
    wrong = wrong[np.argsort(-predicted.probabilities[wrong, 0], kind="stable")]
    confusion = _confusion(view, predicted, classes, np.flatnonzero(judged))
    tables = {
        "confusion": confusion,
        "labels": _labels(confusion),
        "mistakes": _listed(view, predicted, classes, wrong[:limit]),
        "unmapped": _unmapped(view, asked, mapped),
    }
    settings: dict[str, Setting] = {
        "model": model,
        "label": label,
        "limit": limit,
        "class_map": digest_of_map(class_map),
    }
    counts = {
        "images": int(judged.sum()),
        "wrong": len(wrong),
        "unmapped": int((asked & ~mapped[view.labels]).sum()),
        "unlabelled": int((view.labels < 0).sum()) if code is None else 0,
        "unseen": int((asked & mapped[view.labels] & ~seen).sum()),
    }
    figures = {name: float(count) for name, count in counts.items()}
    figures["accuracy"] = 1 - counts["wrong"] / counts["images"]
    return Result("mistakes", settings, tables, figures, _findings(view, model, tables, counts, limit))


def _right(view: View, predicted: Predicted, classes: ClassMap) -> Bools:
    """Return whether each image's most probable class is one that its label stands for."""
    found = np.zeros(len(view), bool)
    for start in range(0, len(view), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[block] = classes.hits(view.labels[block], predicted.classes[block, :1])[:, 0]
    return found


def _confusion(view: View, predicted: Predicted, classes: ClassMap, rows: Int64) -> pa.Table:
    codes, firsts = view.labels[rows].astype(np.int64), predicted.classes[rows, 0].astype(np.int64)
    width = len(classes.names)
    cells, counts = np.unique(codes * width + firsts, return_counts=True)
    labels, indexes = np.divmod(cells, width)
    sizes = np.bincount(codes, minlength=len(view.label_names))
    order = np.lexsort((indexes, -counts, labels))
    labels, indexes, counts = labels[order], indexes[order], counts[order]
    return pa.table(
        {
            "label": pa.array([view.label_names[code] for code in labels.tolist()], pa.string()),
            "class_index": indexes.astype(np.int32),
            "class": pa.array([classes.names[index] for index in indexes.tolist()], pa.string()),
            "count": counts.astype(np.int64),
            "share": counts / sizes[labels],
            "right": classes.accepts[labels, indexes],
        }
    )


def _labels(confusion: pa.Table) -> pa.Table:
    lines: dict[str, dict[str, object]] = {}
    images: dict[str, int] = {}
    wrong: dict[str, int] = {}
    # Cells of a label are sorted by descending count, so the first wrong one is the most frequent.
    for cell in confusion.to_pylist():
        label = cell["label"]
        images[label] = images.get(label, 0) + cell["count"]
        line = lines.setdefault(label, {"most_wrong": "", "most_wrong_count": 0})
        wrong.setdefault(label, 0)
        if not cell["right"]:
            wrong[label] += cell["count"]
            if not line["most_wrong"]:
                line |= {"most_wrong": cell["class"], "most_wrong_count": cell["count"]}
    accuracy = {label: 1 - wrong[label] / images[label] for label in lines}
    return pa.Table.from_pylist(
        [
            {
                "label": label,
                "images": images[label],
                "wrong": wrong[label],
                "accuracy": accuracy[label],
                **lines[label],
            }
            for label in sorted(lines, key=lambda label: (accuracy[label], label))
        ]
    )


def _listed(view: View, predicted: Predicted, classes: ClassMap, rows: Int64) -> pa.Table:
    hits = classes.hits(view.labels[rows], predicted.classes[rows])
    known = hits.any(1)
    rank = hits.argmax(1)
    firsts = predicted.classes[rows, 0]
    own = np.where(known, predicted.probabilities[rows, rank], np.nan)
    return pa.table(
        {
            "rank": np.arange(1, len(rows) + 1, dtype=np.int64),
            "id": view.ids[rows],
            "key": pa.array(view.keys(rows), pa.string()),
            "label": pa.array(view.label_texts(rows), pa.string()),
            "class_index": firsts.astype(np.int32),
            "class": pa.array([classes.names[index] for index in firsts.tolist()], pa.string()),
            "probability": predicted.probabilities[rows, 0].astype(np.float64),
            "label_rank": np.where(known, rank + 1, 0).astype(np.int64),
            "label_probability": own.astype(np.float64),
        }
    )


def with_unknown_ranks(listed: pa.Table) -> pa.Table:
    """Return the table of mistakes for display: a label_rank of 0, which means unknown, becomes null."""
    place = listed.column_names.index("label_rank")
    ranks = listed.column(place)
    return listed.set_column(place, "label_rank", pc.if_else(pc.equal(ranks, 0), pa.scalar(None, pa.int64()), ranks))


def _unmapped(view: View, asked: Bools, mapped: Bools) -> pa.Table:
    sizes = np.bincount(view.labels[asked], minlength=len(view.label_names))
    codes = np.flatnonzero(~mapped & (sizes > 0))
    return pa.table(
        {
            "label": pa.array([view.label_names[code] for code in codes.tolist()], pa.string()),
            "images": sizes[codes].astype(np.int64),
        }
    )


def _nothing(view: View, model: str, label: str, classes: ClassMap) -> str:
    if label and label not in classes.unmapped:
        return f"The model {model} did not see an image of {label}; run lookalike embed again."
    what = f"The label {label}" if label else f"No label of the collection {view.reader.name}"
    labels = "" if label else f"labels: {shortened_list(view.label_names, 5)}; "
    return (
        f"{what} is {'not ' if label else ''}the name of a class of {model} ({labels}classes: "
        f"{shortened_list(classes.names, 5)}); {classes.remedy}."
    )


def _findings(
    view: View, model: str, tables: Mapping[str, pa.Table], counts: Mapping[str, int], limit: int
) -> tuple[str, ...]:
    images, wrong = counts["images"], counts["wrong"]
    found = [f"{model} is wrong about {wrong:,} of {images:,} images ({wrong / images:.1%})."]
    pairs = sorted(
        (cell for cell in tables["confusion"].to_pylist() if not cell["right"]),
        key=lambda cell: (-cell["count"], cell["label"], cell["class"]),
    )
    if pairs:
        told = "; ".join(f"{cell['label']} for {cell['class']}, {cell['count']}" for cell in pairs[:3])
        found.append(f"It takes most often: {told}.")
    if wrong > limit:
        listed = "is the mistake" if limit == 1 else f"are the {limit:,} mistakes"
        found.append(f"Listed {listed} that it is most confident of.")
    if counts["unmapped"]:
        labels = tables["unmapped"].column("label").to_pylist()
        counted = "1 image" if counts["unmapped"] == 1 else f"{counts['unmapped']:,} images"
        found.append(
            f"Left out: {counted}, because these labels name no class of {model}: {shortened_list(labels)}; "
            "say by --class-map FILE which classes they stand for."
        )
    for name, why in {"unlabelled": "without a label", "unseen": "that the model did not see"}.items():
        if counts[name]:
            found.append(f"Left out: {counts[name]:,} {'image' if counts[name] == 1 else 'images'} {why}.")
    if not view.reader.model(model).spec.weights.pretrained:
        found.append("UNTRAINED weights: their predictions mean nothing.")
    return tuple(found)
