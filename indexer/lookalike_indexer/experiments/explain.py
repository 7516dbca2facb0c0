"""Why an image was classified as it was: what each model says, and what lies around it in a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.collection.checkpoints import natural
from lookalike_indexer.collection.current import default_index
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import NotBuiltError, NotFoundError
from lookalike_indexer.experiments.class_map import ClassMap, class_map
from lookalike_indexer.experiments.notes import partial_notes
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.surroundings import clusters_around, nearest_of
from lookalike_indexer.experiments.view import View

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
_NAN = float("nan")


@dataclass(frozen=True)
class _Rival:
    """The class that the image is taken for, or might most likely be, and the images that stand for it.

    `by` says which those are: of that label, taken for it by the model too, or all of other labels.
    """

    index: int
    name: str
    images: Bool
    by: Literal["label", "prediction", "other"]


def explain(
    view: View,
    row: int,
    space: str = "",
    *,
    neighbours: int = 5,
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> Result:
    """Compare an image with those of its own label and with those of the class that it is taken for.

    The rival class is the most probable one, by the space's model, that the
    image's label does not stand for (`class_names`: see class_map); its images
    are those whose label stands for it, or else those that the model takes for
    it too, or else those of all other labels. Distances are those of the space's index, cosine where it has none.

    Tables: predictions (of each model that keeps any), nearest (groups "own"
    and "rival", at most `neighbours` each), clusters (of each clustering of the
    space: the image's cluster and the labels in it), odd (how it is odd for its
    label, see oddballs; empty when it is not). Figures: own_distance and
    rival_distance, those of the nearest of each group. NotBuiltError: the model
    keeps no predictions, or the image is not in the space.
    """
    space, entry = view.reader.space(space)
    index = default_index(view.reader.manifest, space)
    metric: Metric = view.reader.manifest.indexes[index].metric if index else "cosine"
    mapping = class_map(view, entry.model, class_names)
    rival = _rival(view, row, entry.model, mapping)
    label = view.label_texts(np.array([row]))[0]
    own = view.labels == view.labels[row] if label else np.zeros(len(view), bool)
    nearest = nearest_of(view, row, space, metric, {"own": own, "rival": rival.images}, neighbours)
    tables = {
        "predictions": _predictions(view, row, entry.model, class_names),
        "nearest": nearest,
        "clusters": clusters_around(view, row, space),
        "odd": _odd(view, row, space, label),
    }
    distances = {group: _distances(nearest, group) for group in ("own", "rival")}
    figures = {f"{group}_distance": found[0] for group, found in distances.items() if found}
    return Result(
        "explain",
        {
            "key": view.keys(np.array([row]))[0],
            "label": label,
            "space": space,
            "model": entry.model,
            "metric": metric,
            "neighbours": neighbours,
            "rival": rival.name,
            "rival_class": rival.index,
            "rival_by": rival.by,
            "own_class": (mapping.classes_of(int(view.labels[row])) or [-1])[0],
        },
        tables,
        figures,
        (
            *_findings(tables, label, rival, entry.model, mapping),
            *partial_notes(view, [*tables["clusters"].column("clustering").to_pylist()]),
        ),
    )


def _rival(view: View, row: int, model: str, mapping: ClassMap) -> _Rival:
    predicted = view.predicted(model)
    classes = predicted.classes[row]
    if classes[0] < 0:
        raise NotBuiltError(
            f"The model {model} did not see the image {view.keys(np.array([row]))[0]}; run lookalike embed again."
        )
    accepted = mapping.classes_of(int(view.labels[row]))
    index = int(next((found for found in classes.tolist() if found >= 0 and found not in accepted), classes[0]))
    name = predicted.names[index]
    by_label = np.isin(view.labels, mapping.labels_of(index))
    if by_label.any():
        return _Rival(index, name, by_label, "label")
    taken = predicted.classes[:, 0] == index
    if taken.sum() > taken[row]:
        return _Rival(index, name, taken, "prediction")
    return _Rival(index, name, view.labels != view.labels[row], "other")


def _predictions(view: View, row: int, first: str, class_names: Mapping[str, Sequence[str]] | None) -> pa.Table:
    """The most probable classes of each model of the collection, of the `first` one first; most probable first."""
    lines = []
    for model in sorted(view.reader.manifest.models, key=lambda name: (name != first, natural(name))):
        try:
            predicted = view.predicted(model)
        except NotBuiltError:
            continue
        try:
            mapping = class_map(view, model, class_names)
        except NotFoundError:  # a class map for another model's classes
            mapping = class_map(view, model)
        hits = mapping.hits(view.labels[[row]], predicted.classes[[row]])[0]
        pairs = zip(predicted.classes[row].tolist(), predicted.probabilities[row].tolist(), hits.tolist(), strict=True)
        for rank, (index, probability, hit) in enumerate(pairs, 1):
            if index >= 0:
                line = {"model": model, "rank": rank, "class_index": index, "class": predicted.names[index]}
                lines.append({**line, "probability": probability, "of_label": hit})
    return pa.Table.from_pylist(lines)


def _odd(view: View, row: int, space: str, label: str) -> pa.Table:
    """The image's row among the oddballs of its label, by the space's current clustering; empty when it is not odd."""
    try:
        clustering = view.clustering_name(space=space) if label else ""
    except NotBuiltError:
        clustering = ""
    if not clustering:
        return pa.table({"clustering": pa.array([], pa.string())})
    listed = oddballs(view, clustering, label, limit=len(view)).tables["oddballs"]
    own = listed.filter(pc.field("id") == int(view.ids[row]))
    columns = own.select(["rank", "looks_like", "score", "outside", "secondary", "far", "nearer"])
    return columns.add_column(0, "clustering", pa.array([clustering] * len(own), pa.string()))


def _distances(nearest: pa.Table, group: str) -> list[float]:
    columns = nearest.select(["group", "distance"]).to_pylist()
    return [line["distance"] for line in columns if line["group"] == group]


def _findings(
    tables: Mapping[str, pa.Table], label: str, rival: _Rival, model: str, mapping: ClassMap
) -> tuple[str, ...]:
    lines = [line for line in tables["predictions"].to_pylist() if line["model"] == model]
    first = lines[0]
    found = [f"{model} takes it for {first['class']} ({_percent(first['probability'])})"]
    known = label and label not in mapping.unmapped
    hit = next((line for line in lines if line["of_label"]), None)
    if not label:
        found[0] += "; it has no label."
    elif not known:
        found[0] += f"; its label {label} names no class of the model: give --class-map FILE."
    elif first["of_label"]:
        found[0] += f", as its label {label} says; the next is {rival.name}."
    elif hit:
        found[0] += f"; its label {label} comes at place {hit['rank']} ({_percent(hit['probability'])})."
    else:
        found[0] += f"; its label {label} is not among the {len(lines)} most probable classes."
    if rival.by != "label":
        beside = f"images that {model} takes for it too" if rival.by == "prediction" else "images of other labels"
        found.append(f"No label of the collection stands for {rival.name}; beside it are {beside}.")
    own, other = (_distances(tables["nearest"], group) for group in ("own", "rival"))
    if own and other:
        among = rival.name if rival.by == "label" else "those beside it"
        found.append(f"Its nearest image of {label} is at {own[0]:.3f}, its nearest of {among} at {other[0]:.3f}.")
    found += [_odd_told(line, label) for line in tables["odd"].to_pylist()]
    found += [_cluster_told(line, label) for line in tables["clusters"].to_pylist() if line["main_label"]]
    return tuple(found)


def _odd_told(line: Mapping[str, Any], label: str) -> str:
    why = {
        "outside": "it lies outside the clusters of its class",
        "secondary": "it lies with a smaller part of its class in a main cluster of another class",
        "far": "it is far from the middle of its class",
        "nearer": f"it is nearer to the middle of {line['looks_like']}",
    }
    ways = ", ".join(told for way, told in why.items() if line[way])
    return f"It is odd for {label}, number {line['rank']} of its oddballs: {ways}."


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "under 1%"


def _cluster_told(line: Mapping[str, Any], label: str) -> str:
    told = (
        f"In {line['clustering']} it is in cluster {line['cluster']} of {line['size']} images, of which "
        f"{line['main_share']:.0%} are {line['main_label']}"
    )
    return f"{told} and {line['own_share']:.0%} {label}." if label and line["main_label"] != label else f"{told}."
