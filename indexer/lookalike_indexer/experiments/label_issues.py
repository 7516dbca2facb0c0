"""Labels that are likely wrong: confident learning by out-of-sample probabilities of neighbors and predictions.

C. Northcutt, L. Jiang, I. Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70, 2021.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.near_duplicates import graph_notes
from lookalike_indexer.experiments.neighbor_votes import label_probabilities, votes
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.view import View


def label_issues(
    view: View, space: str = "", limit: int = 60, *, predictions: bool = True, scores: bool = False
) -> Result:
    """List the images whose label is likely wrong, the likeliest first, with the suggested label.

    The probability of each label of an image comes from its neighbors in the graph. If the model of the space has
    predictions, other images with the same predicted classes count as much. The image itself has no vote. A label is an
    issue if another one is more probable, and at least as probable as it is on average for the images that have it. The
    score is the probability of the given label minus that of the suggested one, from -1 to 1.

    Tables: "issues", the `limit` likeliest; "labels", for each label its images and issues; "pairs", the count of each
    label and suggestion; with `scores` also "scores", of all labeled images, by ascending id. Raise NotFoundError if
    the space does not exist. Raise NotBuiltError if there is no graph, or there are fewer than two labels.
    """
    space, entry = view.reader.space(space)
    view.reader.graph(space)
    view.require_labels()
    if len(view.label_names) < 2:
        raise NotBuiltError(f"All labels are {view.label_names[0]!r}; label issues need at least two labels.")
    known = view.predicted(entry.model) if predictions and view.reader.model(entry.model).predictions else None
    pieces = [(found.rows, *label_probabilities(view.labels, found)) for found in votes(view, space, known)]
    if not pieces:
        raise NotBuiltError(f"No labeled image is in the graph of {space}; make it again with: lookalike graph")
    rows, own, best, other = map(np.concatenate, zip(*pieces, strict=True))
    order = np.argsort(rows)
    rows, own, best, other = rows[order], own[order], best[order], other[order]
    labels = view.labels[rows]
    sizes = np.bincount(labels, minlength=len(view.label_names))
    usual = np.bincount(labels, own, minlength=len(sizes)) / np.maximum(sizes, 1)
    wrong = (other > own) & (other >= usual[best])
    score = own - other
    listed = np.flatnonzero(wrong)
    listed = listed[np.lexsort((rows[listed], score[listed]))]
    tables = {
        "issues": _issues(view, rows, own, best, other, score, listed[:limit]),
        "labels": _labels(view, labels[wrong], sizes, usual),
        "pairs": _pairs(view, labels[wrong], best[wrong]),
    }
    if scores:
        tables["scores"] = pa.table({"id": view.ids[rows], "score": score, "issue": wrong})
    figures = {
        "images": float(len(rows)),
        "issues": float(len(listed)),
        "unlabelled": float((view.labels < 0).sum()),
    }
    settings: dict[str, Setting] = {"space": space, "limit": limit, "predictions": known is not None, "scores": scores}
    found = [
        f"{len(listed):,} of {len(rows):,} labels are likely wrong, by {view.reader.graph(space).k} neighbors"
        + (f" and the predictions of {entry.model}." if known is not None else "."),
        *(
            f"{line['label']} may be {line['suggested']} {line['images']:,} times."
            for line in tables["pairs"].slice(0, 3).to_pylist()
        ),
    ]
    if len(listed) > limit:
        found.append(f"Listed are the {limit:,} likeliest.")
    if figures["unlabelled"]:
        found.append(f"Left out: {int(figures['unlabelled']):,} images without a label.")
    notes = (*graph_notes(view, space), *untrained_notes(view, [space]))
    return Result("label_issues", settings, tables, figures, (*found, *notes))


def _issues(
    view: View, rows: Int64, own: np.ndarray, best: Int64, other: np.ndarray, score: np.ndarray, listed: Int64
) -> pa.Table:
    return pa.table(
        {
            "rank": np.arange(1, len(listed) + 1, dtype=np.int64),
            "id": view.ids[rows[listed]],
            "key": pa.array(view.keys(rows[listed]), pa.string()),
            "label": pa.array(view.label_texts(rows[listed]), pa.string()),
            "suggested": pa.array([view.label_names[code] for code in best[listed].tolist()], pa.string()),
            "score": score[listed],
            "label_probability": own[listed],
            "suggested_probability": other[listed],
        }
    )


def _labels(view: View, wrong: np.ndarray, sizes: Int64, usual: np.ndarray) -> pa.Table:
    issues = np.bincount(wrong, minlength=len(sizes))
    order = np.lexsort((np.arange(len(sizes)), -(issues / np.maximum(sizes, 1))))
    return pa.table(
        {
            "label": pa.array([view.label_names[code] for code in order.tolist()], pa.string()),
            "images": sizes[order],
            "issues": issues[order],
            "share": (issues / np.maximum(sizes, 1))[order],
            "usual_probability": usual[order],
        }
    )


def _pairs(view: View, labels: np.ndarray, suggested: Int64) -> pa.Table:
    names = view.label_names
    counts = Counter(zip(labels.tolist(), suggested.tolist(), strict=True))
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return pa.table(
        {
            "label": pa.array([names[pair[0]] for pair, _ in ordered], pa.string()),
            "suggested": pa.array([names[pair[1]] for pair, _ in ordered], pa.string()),
            "images": pa.array([count for _, count in ordered], pa.int64()),
        }
    )
