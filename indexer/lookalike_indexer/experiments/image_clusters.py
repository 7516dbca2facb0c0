"""Clusters of an image in every space, with its nearest fellow members and the predictions of the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.metrics import metric_of, shared
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.agreement import pairwise_agreement
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import partial_notes, untrained_notes
from lookalike_indexer.experiments.view import AssignedImages, View, shortened_list
from lookalike_indexer.vectors.exact import exact_search

# Members that are read at a time: 32 MiB of 2048 dimensions.
_BLOCK = 4096
_NAMED = 6
_NAN = float("nan")


def image_clusters(view: View, row: int, members: int = 12) -> Result:
    """Find the cluster of an image in every clustering, and its `members` nearest to the image.

    Tables:

    - clusters: clustering, space, cluster (-1: in none), size, metric (of the clustering), distance (to the centroid),
      margin, label (the most frequent one in the cluster), purity (its share of the labeled images), own_share (that of
      the image's own label)
    - members: clustering, rank, id, key, label, metric (of the space, see `collection.metrics`), distance (to the
      image)
    - predictions: model, rank, class_index, class, probability
    - agreement: of each pair of clusterings: first, second, ari, nmi, images

    The image itself is not listed as a member. Raise UsageError if `members` is below 0. Raise NotBuiltError if the
    collection has no clustering.
    """
    if members < 0:
        raise UsageError(f"members is {members}; it must be at least 0.")
    clusterings = sorted(view.reader.manifest.clusterings, key=natural)
    if not clusterings:
        raise NotBuiltError(
            f"The collection {view.reader.name} has no clustering; make one for each space with: "
            f"lookalike cluster {view.reader.storage.location} --space all"
        )
    (key,), (label,) = view.keys(np.array([row])), view.label_texts(np.array([row]))
    tables = {
        "clusters": pa.Table.from_pylist([_cluster(view, row, name) for name in clusterings], schema=_CLUSTERS),
        "members": pa.Table.from_pylist(
            [line for name in clusterings for line in _members(view, row, name, members)], schema=_MEMBERS
        ),
        "predictions": predictions_of(view, row),
        "agreement": pairwise_agreement(view, clusterings),
    }
    return Result(
        "image_clusters",
        {"key": key, "label": label, "members": members, "metric": _metric(tables)},
        tables,
        _figures(tables),
        (
            *_findings(tables, key, label),
            *_unclustered(view),
            *partial_notes(view, clusterings),
            *untrained_notes(view, tables["clusters"].column("space").to_pylist()),
        ),
    )


def _unclustered(view: View) -> tuple[str, ...]:
    """Return a sentence about the spaces without a clustering, none if all have one."""
    clustered = {entry.space for entry in view.reader.manifest.clusterings.values()}
    without = sorted(view.reader.manifest.spaces.keys() - clustered, key=natural)
    if not without:
        return ()
    return (
        f"Without a clustering: {shortened_list(without, _NAMED)}; make them with: "
        f"{command('cluster', view.reader.storage.location, '--space', 'all')}",
    )


def predictions_of(view: View, row: int) -> pa.Table:
    """Return the predictions of each model for an image: model, rank, class_index, class, probability."""
    lines = []
    for model in sorted(view.reader.manifest.models, key=natural):
        try:
            predicted = view.predicted(model)
        except NotBuiltError:
            continue
        found = zip(predicted.classes[row].tolist(), predicted.probabilities[row].tolist(), strict=True)
        lines += [
            {
                "model": model,
                "rank": rank,
                "class_index": index,
                "class": predicted.names[index],
                "probability": probability,
            }
            for rank, (index, probability) in enumerate(found, 1)
            if index >= 0
        ]
    return pa.Table.from_pylist(lines, schema=_PREDICTIONS)


def _cluster(view: View, row: int, name: str) -> dict[str, Any]:
    assigned = view.assigned(name)
    cluster = int(assigned.clusters[row])
    entry = assigned.entry
    line = {"clustering": name, "space": entry.space, "cluster": cluster, "metric": entry.metric}
    if cluster < 0:
        return {**line, "size": 0, "distance": _NAN, "margin": _NAN, "label": "", "purity": _NAN, "own_share": _NAN}
    labels = view.labels[assigned.clusters == cluster]
    counts = np.bincount(labels[labels >= 0], minlength=1)
    labeled = int(counts.sum())
    own = int(view.labels[row])
    return {
        **line,
        "size": len(labels),
        "distance": float(assigned.distances[row]),
        "margin": float(assigned.margins[row]),
        "label": view.label_names[int(counts.argmax())] if labeled else "",
        "purity": counts.max() / labeled if labeled else _NAN,
        "own_share": counts[own] / labeled if own >= 0 else _NAN,
    }


def _members(view: View, row: int, name: str, members: int) -> list[dict[str, Any]]:
    assigned = view.assigned(name)
    cluster = int(assigned.clusters[row])
    if cluster < 0 or members == 0:
        return []
    space = assigned.entry.space
    metric = metric_of(view.reader.manifest, space)
    space_rows = view.space_rows(space)
    query = view.reader.vectors(space, np.searchsorted(space_rows, np.array([row])))
    blocks = _blocks(view, assigned, space_rows, row)
    found, distances = exact_search(blocks, query, members, metric)
    rows = found[0][found[0] >= 0]
    names = zip(view.ids[rows].tolist(), view.keys(rows), view.label_texts(rows), distances[0].tolist(), strict=False)
    return [
        {
            "clustering": name,
            "rank": rank,
            "id": image,
            "key": key,
            "label": label,
            "metric": metric,
            "distance": distance,
        }
        for rank, (image, key, label, distance) in enumerate(names, 1)
    ]


def _blocks(view: View, assigned: AssignedImages, space_rows: Int64, row: int) -> Iterator[tuple[Int64, Float32]]:
    """Yield the embeddings of the other images in the image's cluster, in blocks."""
    same = assigned.clusters[space_rows] == assigned.clusters[row]
    same &= space_rows != row
    places = np.flatnonzero(same)
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        yield space_rows[block], view.reader.vectors(assigned.entry.space, block)


def _metric(tables: dict[str, pa.Table]) -> str:
    return shared(metric for name in ("clusters", "members") for metric in tables[name].column("metric").to_pylist())


def _figures(tables: dict[str, pa.Table]) -> dict[str, float]:
    agreements = tables["agreement"]
    mean = {name: float(np.mean(agreements.column(name).to_numpy())) for name in ("ari", "nmi") if len(agreements)}
    return {
        "clusterings": float(len(tables["clusters"])),
        "spaces": float(len(set(tables["clusters"].column("space").to_pylist()))),
        **{f"mean_{name}": value for name, value in mean.items()},
    }


def _findings(tables: dict[str, pa.Table], key: str, label: str) -> tuple[str, ...]:
    told = [f"{key} has the label {label}." if label else f"{key} has no label."]
    clusters = [line for line in tables["clusters"].to_pylist() if line["cluster"] >= 0]
    if label and clusters:
        same = [line["clustering"] for line in clusters if line["label"] == label]
        told.append(
            f"Its own label is the most frequent one of its cluster in {len(same)} of {len(clusters)} clusterings."
        )
        other = [f"{line['clustering']} ({line['label']})" for line in clusters if line["label"] not in (label, "")]
        if other:
            told.append(f"It lies among others in {shortened_list(other, _NAMED)}.")
    told += [
        f"{line['model']} takes it for {line['class']} ({line['probability']:.0%})."
        for line in tables["predictions"].to_pylist()
        if line["rank"] == 1
    ]
    pairs = sorted(tables["agreement"].to_pylist(), key=lambda line: -line["ari"])
    if len(pairs) > 1:
        most, least = pairs[0], pairs[-1]
        told.append(
            f"Of all images, {most['first']} and {most['second']} are grouped most alike (ARI {most['ari']:.3f}), "
            f"{least['first']} and {least['second']} least (ARI {least['ari']:.3f})."
        )
    return tuple(told)


_CLUSTERS = pa.schema(
    [
        ("clustering", pa.string()),
        ("space", pa.string()),
        ("cluster", pa.int32()),
        ("size", pa.int64()),
        ("metric", pa.string()),
        ("distance", pa.float64()),
        ("margin", pa.float64()),
        ("label", pa.string()),
        ("purity", pa.float64()),
        ("own_share", pa.float64()),
    ]
)
_MEMBERS = pa.schema(
    [
        ("clustering", pa.string()),
        ("rank", pa.int32()),
        ("id", pa.int64()),
        ("key", pa.string()),
        ("label", pa.string()),
        ("metric", pa.string()),
        ("distance", pa.float64()),
    ]
)
_PREDICTIONS = pa.schema(
    [
        ("model", pa.string()),
        ("rank", pa.int32()),
        ("class_index", pa.int32()),
        ("class", pa.string()),
        ("probability", pa.float64()),
    ]
)
