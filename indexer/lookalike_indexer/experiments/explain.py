"""Explanation of an image's classification: the predictions of each model, and the image's surroundings in a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Bools
from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.metrics import metric_of
from lookalike_indexer.errors import NotBuiltError, NotFoundError
from lookalike_indexer.experiments.class_map import ClassMap
from lookalike_indexer.experiments.class_map import class_map as map_classes
from lookalike_indexer.experiments.explain_findings import findings
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.rival import Rival, rival_of
from lookalike_indexer.experiments.space_notes import partial_notes
from lookalike_indexer.experiments.subject import Picture, Subject, picture_subject, stored_subject
from lookalike_indexer.experiments.surroundings import clusters_around, nearest_of
from lookalike_indexer.experiments.view import View

Written = Mapping[str, Sequence[str]]


def explain(view: View, row: int, space: str = "", *, neighbors: int = 5, class_map: Written | None = None) -> Result:
    """Compare an image with those of its own label and with those of the class that it is taken for.

    The rival class is the most probable one, by the space's model, that the image's label does not stand for (see
    `class_map`). Its images are those whose label stands for it, or else those that the model also takes for it, or
    else those of all other labels. No image is in both groups: an image of the own label that the model also takes for
    the rival class is with the rivals, unless all images of that label are. Distances use the metric of the space, see
    `collection.metrics`.

    Tables: predictions (of each model that keeps any), nearest (groups "own" and "rival", at most `neighbors` each),
    clusters (of each clustering of the space: the image's cluster and the labels in it), odd (why it is odd for its
    label, see oddballs; empty if it is not). Figures: own_distance and rival_distance, those of the nearest of each
    group. Raise NotBuiltError if the model keeps no predictions, or the image is not in the space.
    """
    space, _ = view.reader.space(space)
    return _explained(view, stored_subject(view, row, space), space, neighbors, class_map)


def explain_picture(
    view: View, picture: Picture, space: str = "", *, neighbors: int = 5, class_map: Written | None = None
) -> Result:
    """Explain an image that is not in the collection, by the space's model.

    It has no label, so that the rival class is the most probable one, and the group "own" is empty. The table
    predictions contains only that model; a cluster is that of the nearest centroid.
    """
    space, _ = view.reader.space(space)
    return _explained(view, picture_subject(view, picture), space, neighbors, class_map)


def _explained(view: View, subject: Subject, space: str, neighbors: int, written: Written | None) -> Result:
    model = view.reader.space(space)[1].model
    metric = metric_of(view.reader.manifest, space)
    mapping = map_classes(view, model, written)
    rival = rival_of(view, subject, model, mapping)
    nearest = nearest_of(view, subject.vector, space, metric, _groups(view, subject, rival), neighbors)
    tables = {
        "predictions": _predictions(view, subject, model, mapping, written),
        "nearest": nearest,
        "clusters": clusters_around(view, space, subject.label_code, subject.find_assignment),
        "odd": _odd(view, subject, space),
    }
    clusterings = tables["clusters"].column("clustering").to_pylist()
    accepted = mapping.classes_of(subject.label_code)
    own = next((index for index in subject.classes.tolist() if index in accepted), accepted[0] if accepted else -1)
    told = findings(tables, subject.label, rival, model, mapping, metric)
    return Result(
        "explain",
        {
            "key": subject.name,
            "stored": subject.row >= 0,
            "label": subject.label,
            "space": space,
            "model": model,
            "metric": metric,
            "neighbours": neighbors,
            "rival": rival.name,
            "rival_class": rival.index,
            "rival_by": rival.by,
            "own_class": own,
            "own_class_name": mapping.names[own] if own >= 0 else "",
        },
        tables,
        _figures(nearest),
        (*told, *partial_notes(view, clusterings)),
    )


def _groups(view: View, subject: Subject, rival: Rival) -> dict[str, Bools]:
    """Return the images of the own label and those of the rival class, which are disjoint."""
    others = np.ones(len(view), bool)
    if subject.row >= 0:
        others[subject.row] = False
    labeled = subject.label_code >= 0
    own: Bools = np.asarray(others & (view.labels == subject.label_code) & labeled)
    if rival.by == "prediction" and (own & ~rival.images).any():
        return {"own": own & ~rival.images, "rival": others & rival.images}
    return {"own": own, "rival": others & rival.images & ~own}


def _figures(nearest: pa.Table) -> dict[str, float]:
    first = [line for line in nearest.select(["group", "rank", "distance"]).to_pylist() if line["rank"] == 1]
    return {f"{line['group']}_distance": line["distance"] for line in first}


def _predictions(view: View, subject: Subject, own: str, mapping: ClassMap, written: Written | None) -> pa.Table:
    """Return the most probable classes of each model that saw the image, the space's `own` model first."""
    lines = _lines(view, own, subject, subject.classes, subject.probabilities, mapping)
    others = [name for name in view.reader.manifest.models if name != own and subject.row >= 0]
    for model in sorted(others, key=natural):
        try:
            predicted = view.predicted(model)
        except NotBuiltError:
            continue
        try:
            mapping = map_classes(view, model, written)
        except NotFoundError:  # a class map for another model's classes
            mapping = map_classes(view, model)
        classes, probabilities = predicted.classes[subject.row], predicted.probabilities[subject.row]
        lines += _lines(view, model, subject, classes, probabilities, mapping)
    return pa.Table.from_pylist(lines)


def _lines(
    view: View,
    model: str,
    subject: Subject,
    classes: npt.NDArray[np.int32],
    probabilities: npt.NDArray[np.float32],
    mapping: ClassMap,
) -> list[dict[str, object]]:
    hits = mapping.hits(np.array([subject.label_code], np.int32), classes[None])[0]
    found = zip(classes.tolist(), probabilities.tolist(), hits.tolist(), strict=True)
    return [
        {
            "model": model,
            "rank": rank,
            "class_index": index,
            "class": mapping.names[index],
            "probability": probability,
            "of_label": hit,
        }
        for rank, (index, probability, hit) in enumerate(found, 1)
        if index >= 0
    ]


def _odd(view: View, subject: Subject, space: str) -> pa.Table:
    """Return the image's row among the oddballs of its label, by the space's current clustering; empty if it is not
    odd.
    """
    try:
        clustering = view.clustering_name(space=space) if subject.label else ""
    except NotBuiltError:
        clustering = ""
    if not clustering:
        return pa.table({"clustering": pa.array([], pa.string())})
    listed = oddballs(view, clustering, subject.label, limit=len(view)).tables["oddballs"]
    own = listed.filter(pc.field("id") == int(view.ids[subject.row]))
    columns = own.select(["rank", "looks_like", "score", "outside", "secondary", "far", "nearer"])
    return columns.add_column(0, "clustering", pa.array([clustering] * len(own), pa.string()))
