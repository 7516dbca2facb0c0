"""Choice of the number of clusters: measures of each number, and a recommendation."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Float64
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.alike import require_varied
from lookalike_indexer.experiments.communities import count_communities
from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.experiments.partition_quality import (
    calinski_harabasz,
    davies_bouldin,
    distances_between,
    silhouette,
)
from lookalike_indexer.experiments.partitions import inertia, kmeans_once
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.space_sample import Sampled, sampled
from lookalike_indexer.experiments.suggestions import Suggestion, label_routes, suggestions, within
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Progress, Silent

# If there are more numbers than this, they are tried at equal ratios instead of one by one.
_MOST_TRIED = 64
# The silhouette compares all pairs: exact up to here, with 4 bytes for each pair.
_MOST_PAIRED = 5000
# Below this mean adjusted Rand index, another seed gives clusters that differ noticeably.
_STEADY = 0.75
_WHY = {
    "silhouette": "peak of the silhouette",
    "communities": "communities of the graph of neighbors",
    "classes": "classes that the model sees",
    "meanings": "their meanings",
}


@dataclass(frozen=True)
class _Tried:
    k: int
    inertia: float
    silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    stability: float


def choose_k(
    view: View,
    *,
    space: str = "",
    first: int = 2,
    last: int = 64,
    sample: int = 4000,
    seeds: int = 5,
    seed: int = 1234,
    progress: Progress | None = None,
) -> Result:
    """Cluster a sample of a space into `first` to `last` clusters and measure each number.

    Each number is clustered `seeds` times; the run with the least inertia is measured, and stability is the mean
    adjusted Rand index of all pairs of runs. The silhouette uses the metric of the space, see `collection.metrics`;
    inertia, Davies-Bouldin and Calinski-Harabasz use Euclidean distances, of L2-normalized embeddings if that metric is
    cosine. The rules:

    - elbow: the point of the inertia curve farthest below its chord (Satopää, Albrecht, Irwin, Raghavan: Finding a
      "kneedle" in a haystack, 2011). The chord runs from one cluster to one for each image, over the logarithm of the
      number, so that `last` does not move the elbow
    - silhouette (Rousseeuw, 1987), highest; exact up to 5,000 images, else on the first 5,000 of the sample
    - davies_bouldin (1979), lowest; calinski_harabasz (1974), highest

    The recommendation is the highest silhouette, and the smaller number among equals. Of these measures only the
    silhouette compares the neighborhood of each image, and has no trend that always favors few or many clusters.

    Up to three numbers are suggested, see `suggestions`: peaks of the silhouette, the numbers of classes and meanings
    that the space's model sees, and the communities of the graph of nearest neighbors. That graph has the images that
    the silhouette compares.

    Tables: k (one row for each tried number), rules (rule, k, value), routes (route, k), suggestions (rank, k, route).
    `last` is limited to one less than the number of images. Raise UsageError for numbers out of range. Raise
    NotBuiltError for fewer than two images, or if all embeddings are equal.
    """
    if not 2 <= first <= last:
        raise UsageError(f"--from {first} --to {last}: give two numbers from 2 up, the smaller one first.")
    if seeds < 2:
        raise UsageError(f"--seeds {seeds}: stability under reseeding needs at least 2.")
    drawn = sampled(view, space, sample, seed, progress)
    require_varied(drawn, "a choice of clusters")
    images = len(drawn.rows)
    if first > images - 1:
        raise UsageError(f"--from {first}: with {images} images at most {images - 1} clusters can be measured.")
    numbers = tried_numbers(first, min(last, images - 1))
    paired = drawn.vectors[np.sort(np.random.default_rng(seed).permutation(images)[:_MOST_PAIRED])]
    distances = distances_between(paired, drawn.metric)
    del paired
    with (progress or Silent()).stage("choose k", len(numbers) * seeds, "clustering") as bar:
        lines = []
        for k in numbers:
            runs = []
            for number in range(seeds):
                runs.append(kmeans_once(drawn.vectors, k, seed + number)[1])
                bar.advance()
            lines.append(_measured(k, runs, drawn.vectors, distances, seed))
    lines = [dataclasses.replace(line, inertia=line.inertia * drawn.unit**2) for line in lines]
    return _result(view, drawn, lines, _routes(view, drawn, distances, seed), {"seeds": seeds, "seed": seed})


def silhouettes_of(vectors: Float32, distances: Float32, numbers: list[int], *, seeds: int, seed: int) -> list[float]:
    """Return the silhouette for each number, of the run with the least inertia on unit vectors (n, dim).

    `distances` are those between all pairs (n, n).
    """
    best = [
        min((kmeans_once(vectors, k, seed + run)[1] for run in range(seeds)), key=inertia).clusters for k in numbers
    ]
    return [silhouette(distances, clusters) for clusters in best]


def tried_numbers(first: int, last: int) -> list[int]:
    """Return all numbers from first to last, or 64 of them at equal ratios if there are more."""
    if last - first < _MOST_TRIED:
        return list(range(first, last + 1))
    return sorted({round(k) for k in np.geomspace(first, last, _MOST_TRIED).tolist()})


def elbow(numbers: npt.ArrayLike, inertias: npt.ArrayLike, whole: float, images: int) -> int:
    """Return the position of the point farthest below the chord from (1, `whole`) to (`images`, 0).

    `whole` is the inertia of one cluster. Numbers are scaled by their logarithms, both axes to 0..1.
    """
    x, y = np.asarray(numbers, np.float64), np.asarray(inertias, np.float64)
    return int(np.argmax(1 - np.log(x) / np.log(max(images, 2)) - y / whole))


def _measured(k: int, runs: list[AssignedVectors], vectors: Float32, distances: Float32, seed: int) -> _Tried:
    best = min(runs, key=inertia)
    clusters = best.clusters
    subset = np.sort(np.random.default_rng(seed).permutation(len(clusters))[: len(distances)])
    pairs = itertools.combinations(runs, 2)
    agreements = [agreement(contingency(one.clusters, other.clusters, k, k)).ari for one, other in pairs]
    return _Tried(
        k=k,
        inertia=inertia(best),
        silhouette=silhouette(distances, clusters[subset]),
        davies_bouldin=davies_bouldin(vectors, clusters),
        calinski_harabasz=calinski_harabasz(vectors, clusters),
        stability=float(np.mean(agreements)),
    )


def _result(view: View, drawn: Sampled, lines: list[_Tried], routes: dict[str, int], asked: dict[str, int]) -> Result:
    columns = {name: np.array([getattr(line, name) for line in lines]) for name in _Tried.__dataclass_fields__}
    numbers, silhouettes, stability = columns["k"], columns["silhouette"], columns["stability"]
    if not np.isfinite(silhouettes).any():
        raise UsageError(f"The images of {drawn.space} have too few different embeddings to be clustered.")
    chosen = int(np.nanargmax(silhouettes))
    exact = drawn.vectors.astype(np.float64)
    whole = float(np.square(exact - exact.mean(axis=0)).sum()) * drawn.unit**2
    at = {
        "elbow": elbow(numbers, columns["inertia"], whole, len(exact)),
        "silhouette": chosen,
        "davies_bouldin": int(np.nanargmin(columns["davies_bouldin"])),
        "calinski_harabasz": int(np.nanargmax(columns["calinski_harabasz"])),
        "stability": int(np.argmax(stability)),
    }
    rules = {
        "rule": list(at),
        "k": [int(numbers[place]) for place in at.values()],
        "value": [float(columns["inertia" if rule == "elbow" else rule][place]) for rule, place in at.items()],
    }
    suggested = suggestions(numbers.tolist(), silhouettes.tolist(), routes)
    figures = {
        "images": float(len(drawn.rows)),
        "recommended": float(numbers[chosen]),
        "silhouette": float(silhouettes[chosen]),
        "stability": float(stability[chosen]),
    }
    return Result(
        "choose_k",
        {
            "space": drawn.space,
            "metric": drawn.metric,
            "from": int(numbers[0]),
            "to": int(numbers[-1]),
            "sample": len(drawn.rows),
            **asked,
        },
        {
            "k": pa.table(columns),
            "rules": pa.table(rules),
            "routes": pa.table(
                {"route": pa.array(list(routes), pa.string()), "k": pa.array(routes.values(), pa.int64())}
            ),
            "suggestions": pa.table(
                {
                    "rank": pa.array(range(1, len(suggested) + 1), pa.int32()),
                    "k": pa.array([each.k for each in suggested], pa.int64()),
                    "route": pa.array([each.route for each in suggested], pa.string()),
                }
            ),
        },
        figures,
        _findings(view, drawn, columns, at, suggested, routes),
    )


def _routes(view: View, drawn: Sampled, distances: Float32, seed: int) -> dict[str, int]:
    """Return the numbers of clusters by other routes than the silhouette, without those below 2; see `suggestions`."""
    count = count_communities(distances, seed)
    return ({"communities": count} if count >= 2 else {}) | _predicted_counts(view, drawn)


def _predicted_counts(view: View, drawn: Sampled) -> dict[str, int]:
    """Return the numbers from the labels that the space's model predicts; empty without labels or training."""
    model = view.reader.manifest.spaces[drawn.space].model
    if not view.reader.model(model).spec.weights.pretrained:
        return {}
    try:
        predicted = view.predicted(model)
    except NotBuiltError:
        return {}
    return label_routes(predicted.classes[drawn.rows, 0], predicted.probabilities[drawn.rows, 0], predicted.names)


def _suggestion_texts(
    suggested: list[Suggestion], routes: dict[str, int], columns: dict[str, Float64], name: str
) -> list[str]:
    """Return the suggestions as sentences, and how far the routes agree."""
    numbers = columns["k"].astype(int).tolist()
    told = []
    for each in suggested:
        figures = ""
        if each.k in numbers:
            place = numbers.index(each.k)
            figures = (
                f"; silhouette ({name}) {columns['silhouette'][place]:.3f}, stability {columns['stability'][place]:.3f}"
            )
        told.append(f"{each.k} ({_WHY[each.route]}{figures})")
    found = [f"Suggested, the first to try first: {', '.join(told)}."]
    if routes:
        said = ", ".join(f"{route} {k}" for route, k in routes.items())
        first = suggested[0].k
        near = [k for k in routes.values() if within(k, first)]
        if len(routes) == 1:
            found.append(f"Count by another route: {said}, which is {'' if near else 'not '}within 30% of {first}.")
        else:
            are = "is" if len(near) == 1 else "are"
            found.append(f"Counts by other routes: {said}; {len(near)} of {len(routes)} {are} within 30% of {first}.")
    return found


def _findings(
    view: View,
    drawn: Sampled,
    columns: dict[str, Float64],
    at: dict[str, int],
    suggested: list[Suggestion],
    routes: dict[str, int],
) -> tuple[str, ...]:
    numbers, stability = columns["k"].astype(int), columns["stability"]
    chosen, name = at["silhouette"], NAMES[drawn.metric]
    others = [f"{rule.replace('_', '-')} {numbers[place]}" for rule, place in at.items() if rule != "silhouette"]
    found = [
        f"{numbers[chosen]} clusters of {drawn.space} are recommended, because their silhouette ({name}) is the "
        f"highest, {columns['silhouette'][chosen]:.3f}.",
        f"Other rules say: {', '.join(others)}.",
        *_suggestion_texts(suggested, routes, columns, name),
    ]
    steady = f"the mean adjusted Rand index of two seeds is {stability[chosen]:.3f}"
    if stability[chosen] < _STEADY:
        found.append(f"Another seed gives partly other clusters: {steady}, with one start each.")
    else:
        found.append(f"Another seed gives much the same clusters: {steady}.")
    if chosen in (0, len(numbers) - 1) and len(numbers) > 1:
        found.append(
            f"This is at the end of what was tried, {numbers[0]} to {numbers[-1]}; try others with --from and --to."
        )
    if len(numbers) < numbers[-1] - numbers[0] + 1:
        found.append(f"{len(numbers)} numbers from {numbers[0]} to {numbers[-1]} were tried, at about equal ratios.")
    if view.label_names:
        found.append(f"The images have {len(view.label_names)} labels.")
    if drawn.note:
        found.append(drawn.note)
    if len(drawn.rows) > _MOST_PAIRED:
        found.append(f"The silhouette is that of {_MOST_PAIRED:,} images of the sample.")
    if len(numbers) > 1 and at["elbow"] in (0, len(numbers) - 1):
        found.append(
            f"The elbow is at an end of what was tried, {numbers[at['elbow']]}: the inertia bends nowhere there."
        )
    found += untrained_notes(view, [drawn.space])
    which = "" if drawn.space == view.reader.space()[0] else f" --space {drawn.space}"
    metric = "" if drawn.metric == "cosine" else f" --metric {drawn.metric}"
    next_step = f"lookalike cluster {shlex.quote(view.reader.storage.location)}{which}{metric}"
    return (*found, f"Next: {next_step} --clusters {suggested[0].k}")
