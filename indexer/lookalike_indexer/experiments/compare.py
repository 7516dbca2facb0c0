"""Spaces and ways to cluster them, in one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lookalike_indexer.clustering.choice import choose_clusters
from lookalike_indexer.collection.checkpoints import natural
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.alike import alike
from lookalike_indexer.experiments.cost import Cost, measured
from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.experiments.notes import untrained_notes
from lookalike_indexer.experiments.partitions import STRATEGIES
from lookalike_indexer.experiments.quality import calinski_harabasz, davies_bouldin, distances_between, silhouette
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.sampled import Sampled, sampled_alike
from lookalike_indexer.experiments.view import Int32, View
from lookalike_indexer.numerics.varied import all_alike
from lookalike_indexer.progress import Progress, Silent

# The table of a comparison that is not the same at every run, and so is never stored.
COSTS = "costs"
# More clusters of a sample than this take long, and have too few images to say much: so many for each are wanted.
_MANY = 100
_FEWEST = 20
# The silhouette compares all pairs.
_MOST_PAIRED = 5000


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

    `spaces` and `strategies` are all there are when empty; see `partitions` for
    what each strategy does. `clusters` is the number of clusters, by default
    that of `lookalike cluster`, but for a sample no more than 100 or a 20th of
    its images. Purity, NMI, ARI and V-measure are against the
    labels, NaN where there are none; silhouette, Davies-Bouldin and
    Calinski-Harabasz are measured on the L2-normalised embeddings of the space,
    whatever the strategy worked on, and so compare strategies, not spaces.

    Tables: scores, one row for each space and strategy; and COSTS with the
    seconds and the bytes of memory that each needed beyond the embeddings,
    which differ from run to run and machine to machine: leave it out of what
    is stored. NotFoundError: no such space. UsageError: no such strategy,
    fewer than three images, or not fewer clusters than images.
    """
    spaces = _checked_spaces(view, spaces)
    strategies = _checked_strategies(strategies)
    drawn = sampled_alike(view, spaces, sample, seed, progress)
    images = len(drawn[0].rows)
    if images < 3:
        raise UsageError(f"Only {images} images can be compared, and a comparison needs at least 3.")
    # What is asked for is measured against the images compared, which may be fewer than those of a space.
    k, reason = (clusters, "as asked for") if clusters is not None else choose_clusters(view.reader, spaces[0], None)
    most = max(_MANY, images // _FEWEST)
    if clusters is None and images < len(view) and k > most:
        k, reason = most, f"enough for a sample, where {k} would be {reason}"
    if clusters is None and not 2 <= k < images:
        k, reason = min(max(k, 2), images - 1), f"within what {images} images allow, where {k} would be {reason}"
    if not 2 <= k < images:
        raise UsageError(f"--clusters {k}: give a number from 2 to {images - 1}, for the {images} images compared.")
    scores, costs = [], []
    with (progress or Silent()).stage("compare", len(spaces) * len(strategies), "clustering") as bar:
        for one in drawn:
            same = all_alike(one.vectors)
            for strategy in strategies:
                with measured() as cost:
                    # Rounding must not divide copies of a picture.
                    groups = np.zeros(images, np.int32) if same else STRATEGIES[strategy](one.vectors, k, seed)
                scores.append(_scores(view, one, strategy, groups))
                costs.append(_cost(one.space, strategy, cost))
                bar.advance()
    table = pa.Table.from_pylist(scores)
    settings: dict[str, Setting] = {
        "spaces": list(spaces),
        "strategies": list(strategies),
        "clusters": k,
        "sample": images,
        "seed": seed,
    }
    best = max(scores, key=_merit)
    figures = {"images": float(images), **{name: float(best[name]) for name in ("purity", "nmi", "ari", "silhouette")}}
    tables = {"scores": table, COSTS: pa.Table.from_pylist(costs)}
    told = [f"{alike(one)}; they are one group there." for one in drawn if all_alike(one.vectors)]
    findings = (*_findings(view, drawn[0], scores, k, reason), *told)
    return Result("compare", settings, tables, figures, findings)


def _checked_spaces(view: View, spaces: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(spaces)) or sorted(view.reader.manifest.spaces, key=natural)
    return [view.reader.space(name)[0] for name in wanted]


def _checked_strategies(strategies: Sequence[str]) -> list[str]:
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise UsageError(f"There is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}.")
    return list(dict.fromkeys(strategies)) or list(STRATEGIES)


def _scores(view: View, one: Sampled, strategy: str, groups: Int32) -> dict[str, str | float | int]:
    labels = view.labels[one.rows]
    known = agreement(contingency(labels, groups, len(view.label_names), int(groups.max()) + 1))
    paired = np.sort(np.random.default_rng(0).permutation(len(groups))[:_MOST_PAIRED])
    sizes = np.bincount(groups)
    return {
        "space": one.space,
        "strategy": strategy,
        "purity": known.purity,
        "nmi": known.nmi,
        "ari": known.ari,
        "v_measure": known.v_measure,
        "silhouette": silhouette(distances_between(one.vectors[paired]), groups[paired]),
        "davies_bouldin": davies_bouldin(one.vectors, groups),
        "calinski_harabasz": calinski_harabasz(one.vectors, groups),
        "smallest": int(sizes[sizes > 0].min()),
        "largest": int(sizes.max()),
    }


def _cost(space: str, strategy: str, cost: Cost) -> dict[str, str | float | int]:
    return {"space": space, "strategy": strategy, "seconds": cost.seconds, "peak_bytes": cost.peak_bytes}


def _merit(line: dict[str, str | float | int]) -> float:
    """What the best is best at: agreement with the labels, or the silhouette where there are none."""
    ari = float(line["ari"])
    return ari if np.isfinite(ari) else float(np.nan_to_num(float(line["silhouette"]), nan=-1.0))


def _findings(
    view: View, one: Sampled, scores: list[dict[str, str | float | int]], k: int, reason: str
) -> tuple[str, ...]:
    best = max(scores, key=_merit)
    measure = "ARI" if view.label_names else "silhouette"
    found = [
        f"Into {k} clusters ({reason}): {best['strategy']} in {best['space']} is best by {measure}, {_merit(best):.3f}."
    ]
    if view.label_names:
        for space in dict.fromkeys(line["space"] for line in scores):
            own = max((line for line in scores if line["space"] == space), key=_merit)
            found.append(
                f"{space}: {own['strategy']}, purity {own['purity']:.3f}, NMI {own['nmi']:.3f}, ARI {own['ari']:.3f}."
            )
    if one.told:
        found.append(one.told)
    if len(one.rows) > _MOST_PAIRED:
        found.append(f"The silhouette is that of {_MOST_PAIRED:,} images of the sample.")
    return (*found, *untrained_notes(view, dict.fromkeys(str(line["space"]) for line in scores)))
