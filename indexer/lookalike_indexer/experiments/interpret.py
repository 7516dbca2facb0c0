"""Interpretation of clusters: central, borderline and random samples, and a suggested name of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Int32, Int64
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.naming import ClusterName, disambiguated, names_of_clusters
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import partial_notes, untrained_notes
from lookalike_indexer.experiments.view import AssignedImages, View, shortened_list

SEED = 1234
KINDS = ("central", "borderline", "random")
_NAMED = 6


def interpret_clusters(view: View, clustering: str = "", samples: int = 5, seed: int = SEED) -> Result:
    """Draw samples from each cluster, and name it after terms that are frequent in it and rarer elsewhere.

    Central samples are the nearest to the centroid, borderline ones those with the least margin to the next centroid,
    random ones drawn by the seed; an image of a small cluster may be in several of them. Names are made from labels if
    there are any, else from the top-1 classes of the space's model, else from another model's. If it is more
    descriptive, a name is the meaning above them in ImageNet's tree. Equal names are distinguished by the five most
    probable classes; see `naming`.

    Tables:

    - clusters: cluster, size, name, names_from ("labels", "predictions of MODEL" or ""), share and lift (of the first
      part of the name), terms, shares and lifts (of all of them), is_mixed, meaning (used as the name in place of the
      terms, else ""), apart (the class that distinguishes clusters of the same name, else ""); no empty clusters
    - samples: cluster, kind ("central", "borderline", "random"), rank, id, key, label, prediction, distance, margin
      (in the clustering's metric)

    Raise UsageError if `samples` is below 1. Raise NotBuiltError if there is no clustering. Raise NotFoundError if the
    clustering does not exist.
    """
    if samples < 1:
        raise UsageError(f"samples is {samples}; it must be at least 1.")
    name = view.clustering_name(clustering)
    assigned = view.assigned(name)
    model, top, classes = _predictions(view, assigned)
    predictions = top[:, 0]
    source, named = _names(view, assigned, model, top, classes)
    sizes = np.bincount(assigned.clusters[assigned.clusters >= 0], minlength=assigned.entry.k)
    tables = {
        "clusters": _clusters(sizes, named, source),
        "samples": _samples(view, assigned, predictions, classes, samples, seed),
    }
    figures = {
        "clusters": float((sizes > 0).sum()),
        "empty_clusters": float((sizes == 0).sum()),
        "mixed": float(sum(tables["clusters"].column("is_mixed").to_pylist())),
    }
    return Result(
        "interpret_clusters",
        {"clustering": name, "samples": samples, "seed": seed, "names_from": source},
        tables,
        figures,
        (
            *_findings(tables, name, source),
            *partial_notes(view, [name]),
            *untrained_notes(view, [assigned.entry.space]),
        ),
    )


def cluster_names(view: View, clustering: str) -> list[str]:
    """Return the name of each cluster of a clustering, as in `interpret_clusters`; "" for a cluster without one."""
    assigned = view.assigned(clustering)
    return [named.text for named in _names(view, assigned, *_predictions(view, assigned))[1]]


def _names(
    view: View, assigned: AssignedImages, model: str, top: Int32, classes: list[str]
) -> tuple[str, list[ClusterName]]:
    """Return the source of the names, and the name of each cluster."""
    if view.label_names:
        source, codes, texts = "labels", view.labels, view.label_names
    else:
        source, codes, texts = (f"predictions of {model}" if model else ""), top[:, 0], classes
    named = names_of_clusters(codes, assigned.clusters, texts, assigned.entry.k)
    return source, disambiguated(named, assigned.clusters, top, classes)


def _predictions(view: View, assigned: AssignedImages) -> tuple[str, Int32, list[str]]:
    """Return the most probable classes (images, top) of the space's own model, or the first other one that kept any."""
    own = view.reader.manifest.spaces[assigned.entry.space].model
    for model in [own, *sorted(view.reader.manifest.models)]:
        try:
            predicted = view.predicted(model)
        except NotBuiltError:
            continue
        return model, predicted.classes, view.class_names(model)
    return "", np.full((len(view), 1), -1, np.int32), []


def _clusters(sizes: Int64, named: Sequence[ClusterName], source: str) -> pa.Table:
    full = np.flatnonzero(sizes).tolist()
    here = [named[cluster] for cluster in full]
    return pa.table(
        {
            "cluster": pa.array(full, pa.int32()),
            "size": pa.array(sizes[full], pa.int64()),
            "name": pa.array([each.text for each in here], pa.string()),
            "names_from": pa.array([source] * len(full), pa.string()),
            "share": pa.array([each.share for each in here], pa.float64()),
            "lift": pa.array([each.lift for each in here], pa.float64()),
            "terms": pa.array([each.terms for each in here], pa.list_(pa.string())),
            "shares": pa.array([each.shares for each in here], pa.list_(pa.float64())),
            "lifts": pa.array([each.lifts for each in here], pa.list_(pa.float64())),
            "is_mixed": pa.array([each.is_mixed for each in here], pa.bool_()),
            "meaning": pa.array([each.meaning for each in here], pa.string()),
            "apart": pa.array([each.apart for each in here], pa.string()),
        }
    )


def _samples(
    view: View, assigned: AssignedImages, predictions: Int32, classes: list[str], samples: int, seed: int
) -> pa.Table:
    rows = np.flatnonzero(assigned.clusters >= 0)
    chance = np.random.default_rng(seed).random(len(rows))
    by: list[npt.NDArray[np.floating]] = [assigned.distances[rows], assigned.margins[rows], chance]
    places, kinds, ranks = [], [], []
    for kind, values in enumerate(by):
        found, place = _first(assigned.clusters[rows], values, samples)
        places.append(rows[found])
        kinds.append(np.full(len(found), kind))
        ranks.append(place + 1)
    taken, kind_of, rank = np.concatenate(places), np.concatenate(kinds), np.concatenate(ranks)
    order = np.lexsort((rank, kind_of, assigned.clusters[taken]))
    taken, kind_of, rank = taken[order], kind_of[order], rank[order]
    return pa.table(
        {
            "cluster": pa.array(assigned.clusters[taken], pa.int32()),
            "kind": pa.array([KINDS[kind] for kind in kind_of.tolist()], pa.string()),
            "rank": pa.array(rank, pa.int32()),
            "id": pa.array(view.ids[taken], pa.int64()),
            "key": pa.array(view.keys(taken), pa.string()),
            "label": pa.array(view.label_texts(taken), pa.string()),
            "prediction": pa.array(
                [classes[code] if code >= 0 else "" for code in predictions[taken].tolist()], pa.string()
            ),
            "distance": pa.array(assigned.distances[taken], pa.float64()),
            "margin": pa.array(assigned.margins[taken], pa.float64()),
        }
    )


def _first(clusters: Int32, values: npt.NDArray[np.floating], count: int) -> tuple[Int64, Int64]:
    """Return the `count` places with the lowest values in each cluster, and their ranks from 0."""
    order = np.lexsort((values, clusters))
    ordered = clusters[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    first = place < count
    return order[first], place[first]


def _findings(tables: dict[str, pa.Table], name: str, source: str) -> tuple[str, ...]:
    lines = tables["clusters"].to_pylist()
    if not source:
        return (f"{name}: the clusters cannot be named, for there are neither labels nor predictions.",)
    clear = [line for line in lines if not line["is_mixed"]]
    told = [f"{name}: {len(clear)} of {len(lines)} clusters can be named by the {source}."]
    best = sorted(clear, key=lambda line: (-line["share"], line["cluster"]))[:_NAMED]
    if best:
        each = ", ".join(f"{line['cluster']} {line['name']} ({line['share']:.0%})" for line in best)
        told.append(f"The clearest: {each}.")
    mixed = [f"{line['cluster']} ({' / '.join(line['terms'])})" for line in lines if line["is_mixed"]]
    if mixed:
        told.append(f"Mixed, with less than half of their images named: {shortened_list(mixed, _NAMED)}.")
    told.append(
        "A name is made of up to three terms that are more frequent in the cluster than in all images, by their "
        "share x log(lift), until they cover half of the cluster; lift is the share in the cluster over that in all."
    )
    if any(line["meaning"] for line in lines):
        told.append(
            "Where it says more, a name is the meaning above the terms in WordNet's tree of ImageNet's classes."
        )
    if any(line["apart"] for line in lines):
        told.append(
            "Clusters of one name are told apart by the class that is more often among the most probable ones in one."
        )
    return tuple(told)
