"""How many clusters: what each number of them costs and gains, and a recommendation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.clustering.assign import Assigned
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.alike import require_varied
from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.experiments.notes import untrained_notes
from lookalike_indexer.experiments.partitions import inertia, kmeans_once
from lookalike_indexer.experiments.quality import calinski_harabasz, davies_bouldin, distances_between, silhouette
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.sampled import Sampled, sampled
from lookalike_indexer.experiments.view import Float32, View
from lookalike_indexer.progress import Progress, Silent

Float64 = npt.NDArray[np.float64]
# More numbers than this are tried at equal ratios instead of one by one.
_MOST_TRIED = 64
# The silhouette compares all pairs: exact up to here, with 4 bytes for each pair.
_MOST_PAIRED = 5000
# Below this mean adjusted Rand index another seed gives clusters that a person would call other ones.
_STEADY = 0.75


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

    Each number is clustered `seeds` times; the run with the least inertia is
    measured, and stability is the mean adjusted Rand index of all pairs of
    runs. Distances are Euclidean between L2-normalised embeddings. The rules:

    - elbow: the point of the inertia curve farthest below its chord (Satopää,
      Albrecht, Irwin, Raghavan: Finding a "kneedle" in a haystack, 2011)
    - silhouette (Rousseeuw, 1987), highest; exact up to 5,000 images, else on
      the first 5,000 of the sample
    - davies_bouldin (1979), lowest; calinski_harabasz (1974), highest

    Recommended is the highest silhouette, the smaller number among equals: of
    these measures it alone compares what each image is near to, and has no
    trend by which few or many clusters always win.

    Tables: k (one row for each number tried), rules (rule, k, value). `last`
    is lowered to one less than the images. UsageError: numbers out of range.
    NotBuiltError: fewer than two images, or the same embedding for all.
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
    distances = distances_between(paired)
    del paired
    with (progress or Silent()).stage("choose k", len(numbers) * seeds, "clustering") as bar:
        lines = []
        for k in numbers:
            runs = []
            for number in range(seeds):
                runs.append(kmeans_once(drawn.vectors, k, seed + number)[1])
                bar.advance()
            lines.append(_measured(k, runs, drawn.vectors, distances, seed))
    return _result(view, drawn, lines, {"seeds": seeds, "seed": seed})


def tried_numbers(first: int, last: int) -> list[int]:
    """All numbers from first to last, or 64 of them at equal ratios when there are more."""
    if last - first < _MOST_TRIED:
        return list(range(first, last + 1))
    return sorted({round(k) for k in np.geomspace(first, last, _MOST_TRIED).tolist()})


def elbow(numbers: npt.ArrayLike, inertias: npt.ArrayLike) -> int:
    """The position of the point farthest below the chord from the first to the last, both axes scaled to 0..1."""
    x, y = np.asarray(numbers, np.float64), np.asarray(inertias, np.float64)
    across = (x - x[0]) / max(x[-1] - x[0], 1)
    down = (y - y[-1]) / (y[0] - y[-1]) if y[0] != y[-1] else np.zeros_like(y)
    return int(np.argmax(1 - across - down))


def _measured(k: int, runs: list[Assigned], vectors: Float32, distances: Float32, seed: int) -> _Tried:
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


def _result(view: View, drawn: Sampled, lines: list[_Tried], asked: dict[str, int]) -> Result:
    columns = {name: np.array([getattr(line, name) for line in lines]) for name in _Tried.__dataclass_fields__}
    numbers, silhouettes, stability = columns["k"], columns["silhouette"], columns["stability"]
    if not np.isfinite(silhouettes).any():
        raise UsageError(f"The images of {drawn.space} have too few different embeddings to be clustered.")
    chosen = int(np.nanargmax(silhouettes))
    at = {
        "elbow": elbow(numbers, columns["inertia"]),
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
            "from": int(numbers[0]),
            "to": int(numbers[-1]),
            "sample": len(drawn.rows),
            **asked,
        },
        {"k": pa.table(columns), "rules": pa.table(rules)},
        figures,
        _findings(view, drawn, columns, at),
    )


def _findings(view: View, drawn: Sampled, columns: dict[str, Float64], at: dict[str, int]) -> tuple[str, ...]:
    numbers, stability = columns["k"].astype(int), columns["stability"]
    chosen = at["silhouette"]
    others = [f"{rule.replace('_', '-')} {numbers[place]}" for rule, place in at.items() if rule != "silhouette"]
    found = [
        f"{numbers[chosen]} clusters of {drawn.space} are recommended, because their silhouette is the highest, "
        f"{columns['silhouette'][chosen]:.3f}.",
        f"Other rules say: {', '.join(others)}.",
    ]
    steady = f"the mean adjusted Rand index of two seeds is {stability[chosen]:.3f}"
    if stability[chosen] < _STEADY:
        found.append(f"Another seed gives partly other clusters: {steady}; cluster with several --restarts.")
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
    if drawn.told:
        found.append(drawn.told)
    if len(drawn.rows) > _MOST_PAIRED:
        found.append(f"The silhouette is that of {_MOST_PAIRED:,} images of the sample.")
    return (*found, *untrained_notes(view, [drawn.space]))
