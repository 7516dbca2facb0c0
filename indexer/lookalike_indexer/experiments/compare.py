"""Comparison of spaces and clustering strategies in one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Int32, Int64
from lookalike_indexer.clustering.choice import choose_clusters
from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.current import covers, default_clustering
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.collection.metrics import NAMES, shared
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.alike import alike
from lookalike_indexer.experiments.cost import Cost, measured
from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.experiments.partition_quality import (
    calinski_harabasz,
    davies_bouldin,
    distances_between,
    silhouette,
)
from lookalike_indexer.experiments.partitions import STRATEGIES
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.space_sample import Sampled, sample_shared_images
from lookalike_indexer.experiments.view import View
from lookalike_indexer.numerics.variation import all_equal
from lookalike_indexer.progress import Progress, Silent

# The table that differs between runs, and so is never stored.
COSTS = "costs"
# Larger numbers of clusters of a sample take long, and leave too few images for each: this many are required.
_MANY = 100
_FEWEST = 20
# The silhouette compares all pairs.
_MOST_PAIRED = 5000
# A row of the table of scores.
Scores = dict[str, str | float | int]


def compare(
    view: View,
    *,
    spaces: Sequence[str] = (),
    strategies: Sequence[str] = (),
    clusters: int | None = None,
    sample: int = 4000,
    seed: int = 1234,
    progress: Progress | None = None,
) -> Result:
    """Cluster the same images in several spaces by several strategies, and measure each.

    Stored clusterings of these spaces are measured on the same images as well: the current one of each space, and those
    with the same number of clusters. Empty `spaces` and `strategies` mean all; `partitions` describes the strategies.
    `clusters` is the number of clusters, by default that of `lookalike cluster`, but for a sample at most 100 or a 20th
    of its images.

    Purity, NMI, ARI and V-measure are relative to the labels, NaN without labels. Silhouette, Davies-Bouldin and
    Calinski-Harabasz are measured on the embeddings of the space for every strategy, and so compare strategies, not
    spaces. The silhouette uses the metric of each space, the others use Euclidean distances. Whitening is left out if
    that metric is Euclidean.

    Tables: scores, one row for each space and strategy (`stored` is "" there), and one for each stored clustering, with
    `stored` as "space/name"; and COSTS with the seconds and the bytes of memory that each needed beyond the embeddings.
    COSTS differs between runs and machines: do not store it. Raise NotFoundError if the space does not exist. Raise
    UsageError for an unknown strategy, fewer than three images, or no more images than clusters.
    """
    spaces = _checked_spaces(view, spaces)
    strategies = _checked_strategies(strategies)
    drawn = sample_shared_images(view, spaces, sample, seed, progress)
    images = len(drawn[0].rows)
    if images < 3:
        raise UsageError(f"Only {images} images can be compared, and a comparison needs at least 3.")
    # The number is checked against the compared images, which may be fewer than those of a space.
    k, reason = (clusters, "as requested") if clusters is not None else choose_clusters(view.reader, spaces[0], None)
    most = max(_MANY, images // _FEWEST)
    if clusters is None and images < len(view) and k > most:
        k, reason = most, f"enough for a sample, where {k} would be {reason}"
    if clusters is None and not 2 <= k < images:
        k, reason = min(max(k, 2), images - 1), f"within what {images} images allow, where {k} would be {reason}"
    if not 2 <= k < images:
        raise UsageError(f"--clusters {k}: give a number from 2 to {images - 1}, for the {images} images compared.")
    each = {one.space: _fitting(one, strategies) for one in drawn}
    scores, costs = [], []
    with (progress or Silent()).stage("compare", sum(map(len, each.values())), "clustering") as bar:
        for one in drawn:
            same, pairs = all_equal(one.vectors), _Pairs(one)
            for strategy in each[one.space]:
                with measured() as cost:
                    # Rounding must not separate copies of an image.
                    groups = np.zeros(images, np.int32) if same else STRATEGIES[strategy](one.vectors, k, seed)
                scores.append(_scores(view, pairs, strategy, k, groups))
                costs.append(_cost(one.space, strategy, cost))
                bar.advance()
            scores += [_stored_scores(view, pairs, name) for name in _stored(view, one.space, k)]
    table = pa.Table.from_pylist(scores)
    settings: dict[str, Setting] = {
        "spaces": list(spaces),
        "strategies": [name for name in strategies or STRATEGIES if any(name in names for names in each.values())],
        "metric": shared(one.metric for one in drawn),
        "clusters": k,
        "sample": images,
        "seed": seed,
    }
    best = _best(scores)
    figures = {"images": float(images), **{name: float(best[name]) for name in ("purity", "nmi", "ari", "silhouette")}}
    tables = {"scores": table, COSTS: pa.Table.from_pylist(costs)}
    told = [f"{alike(one)}; they are one group there." for one in drawn if all_equal(one.vectors)]
    findings = (*_findings(view, drawn[0], scores, k, reason), *told, _next(view, best, k, scores))
    return Result("compare", settings, tables, figures, findings)


def _checked_spaces(view: View, spaces: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(spaces)) or sorted(view.reader.manifest.spaces, key=natural)
    return [view.reader.space(name)[0] for name in wanted]


def _checked_strategies(strategies: Sequence[str]) -> list[str]:
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise UsageError(f"There is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}.")
    return list(dict.fromkeys(strategies))


def _fitting(one: Sampled, strategies: Sequence[str]) -> list[str]:
    """Return the requested strategies, or all that suit the space. Raise UsageError for one that does not."""
    if one.metric == "l2" and "whitened" in strategies:
        raise UsageError(
            f"--strategies whitened: the space {one.space} is measured by Euclidean distances; leave whitened out."
        )
    return list(strategies) or [name for name in STRATEGIES if one.metric == "cosine" or name != "whitened"]


def _stored(view: View, space: str, k: int) -> list[str]:
    """Return the stored clusterings of a space to measure: the current one, and those of k clusters."""
    current = default_clustering(view.reader.manifest, space)
    entries = sorted(view.reader.manifest.clusterings.items(), key=lambda each: natural(each[0]))
    return [name for name, entry in entries if entry.space == space and (name == current or entry.k == k)]


class _Pairs:
    """The sampled images of a space, and the distances between them for silhouettes."""

    def __init__(self, of: Sampled) -> None:
        self.of = of
        self._between: Float32 | None = None

    def silhouette(self, groups: Int32) -> float:
        """Return the silhouette of groups of the images, -1 for none; of a subset if there are many images."""
        there = np.flatnonzero(groups >= 0)
        paired = there[np.sort(np.random.default_rng(0).permutation(len(there))[:_MOST_PAIRED])]
        if len(there) < len(groups):
            return silhouette(self._distances(paired), groups[paired])
        # The same images each time: their distances are shared by all clusterings.
        if self._between is None:
            self._between = self._distances(paired)
        return silhouette(self._between, groups[paired])

    def _distances(self, rows: Int64) -> Float32:
        return distances_between(self.of.vectors[rows], self.of.metric)


def _stored_scores(view: View, pairs: _Pairs, name: str) -> Scores:
    assigned = view.assigned(name)
    return _scores(view, pairs, assigned.entry.strategy, assigned.entry.k, assigned.clusters[pairs.of.rows], name)


def _scores(view: View, pairs: _Pairs, strategy: str, k: int, groups: Int32, stored: str = "") -> Scores:
    one = pairs.of
    labels = view.labels[one.rows]
    known = agreement(contingency(labels, groups, len(view.label_names), int(groups.max()) + 1))
    # A stored clustering may lack images.
    apart = pairs.silhouette(groups)
    vectors, groups = one.vectors[groups >= 0], groups[groups >= 0]
    sizes = np.bincount(groups, minlength=1)
    return {
        "space": one.space,
        "strategy": strategy,
        "stored": stored,
        "k": k,
        "metric": one.metric,
        "purity": known.purity,
        "nmi": known.nmi,
        "ari": known.ari,
        "v_measure": known.v_measure,
        "silhouette": apart,
        "davies_bouldin": davies_bouldin(vectors, groups),
        "calinski_harabasz": calinski_harabasz(vectors, groups),
        "smallest": int(sizes[sizes > 0].min(initial=len(groups))),
        "largest": int(sizes.max()),
    }


def _cost(space: str, strategy: str, cost: Cost) -> dict[str, str | float | int]:
    return {"space": space, "strategy": strategy, "seconds": cost.seconds, "peak_bytes": cost.peak_bytes}


def _best(scores: list[Scores]) -> Scores:
    """Return the best new clustering; stored ones may have other numbers of clusters."""
    return max((line for line in scores if not line["stored"]), key=_merit)


def _merit(line: Scores) -> float:
    """Return the score of a row: agreement with the labels, or the silhouette without labels."""
    ari = float(line["ari"])
    return ari if np.isfinite(ari) else float(np.nan_to_num(float(line["silhouette"]), nan=-1.0))


def _findings(view: View, one: Sampled, scores: list[Scores], k: int, reason: str) -> tuple[str, ...]:
    best = _best(scores)
    measure = "ARI" if view.label_names else f"silhouette ({NAMES[str(best['metric'])]})"
    found = [
        f"Into {k} clusters ({reason}): {best['strategy']} in {best['space']} is best by {measure}, {_merit(best):.3f}."
    ]
    if view.label_names:
        for space in dict.fromkeys(line["space"] for line in scores):
            own = _best([line for line in scores if line["space"] == space])
            found.append(
                f"{space}: {own['strategy']}, purity {own['purity']:.3f}, NMI {own['nmi']:.3f}, ARI {own['ari']:.3f}."
            )
    found += [
        f"Stored: {line['stored']}, {line['strategy']} into {line['k']} clusters, {measure} {_merit(line):.3f}."
        for line in scores
        if line["stored"]
    ]
    if one.note:
        found.append(one.note)
    if len(one.rows) > _MOST_PAIRED:
        found.append(f"The silhouette is that of {_MOST_PAIRED:,} images of the sample.")
    return (*found, *untrained_notes(view, dict.fromkeys(str(line["space"]) for line in scores)))


def _next(view: View, best: Scores, k: int, scores: list[Scores]) -> str:
    """Return the command that stores the best clustering, or a sentence if it is stored already."""
    manifest = view.reader.manifest
    for name, entry in manifest.clusterings.items():
        same = (entry.space, entry.strategy, entry.k) == (best["space"], best["strategy"], k)
        if same and entry.metric == best["metric"] and covers(manifest, entry):
            measure = "ARI" if view.label_names else f"silhouette ({NAMES[str(best['metric'])]})"
            own = next((f", {measure} {_merit(line):.3f}" for line in scores if line["stored"] == name), "")
            return f"{best['strategy']} into {k} clusters is stored already{own}: take it with --clustering {name}"
    space = [] if best["space"] == view.reader.space()[0] else ["--space", best["space"]]
    metric = [] if best["metric"] == "cosine" else ["--metric", best["metric"]]
    options = [*space, *metric, "--strategy", best["strategy"], "--clusters", k]
    return f"Next: {command('cluster', view.reader.storage.location, *options)}"
