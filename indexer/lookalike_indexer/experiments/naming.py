"""Names of clusters: terms that are frequent in a cluster and rarer elsewhere.

Each term t (a label, or a class that a model predicts) has a share p in the cluster and q among all images; p / q is
its lift. Terms are ranked by p log(p / q), their part in the Kullback-Leibler divergence of the cluster from the whole.
The share alone would name every cluster after the most frequent term, the lift alone after the rarest one. Terms with a
lift of at most 1 are not used.

The meanings above the terms in ImageNet's tree (`imagenet_tree`) are ranked by the same measure. A meaning that covers
half of the cluster is its name if the terms do not cover half, or if it ranks above all of them together: apron, kimono
and wool are clothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lookalike_indexer.arrays import Int32, Int64
from lookalike_indexer.experiments.imagenet_tree import imagenet_tree
from lookalike_indexer.experiments.metrics import Contingency, contingency

# The maximum number of terms, and the share of the cluster at which no more are added.
_TERMS, _COVERED = 3, 0.5
# Tolerance, because rounding must not decide what covers half.
_SLACK = 1e-9
# A class distinguishes clusters of the same name only if at least this share of one of them has it.
_TELLING = 0.1


@dataclass(frozen=True)
class ClusterName:
    """A name: its terms with the share and lift of each. It is mixed if neither they nor a meaning cover half.

    `meaning`, with its own share and lift, replaces the terms; `apart` distinguishes clusters of the same name.
    """

    terms: list[str]
    shares: list[float]
    lifts: list[float]
    meaning: str = ""
    meaning_share: float = float("nan")
    meaning_lift: float = float("nan")
    apart: str = ""

    @property
    def is_mixed(self) -> bool:
        return not self.meaning and sum(self.shares) < _COVERED - _SLACK

    @property
    def share(self) -> float:
        """The share of the first part of the name; NaN without a name."""
        return self.meaning_share if self.meaning or not self.shares else self.shares[0]

    @property
    def lift(self) -> float:
        """The lift of the first part of the name; NaN without a name."""
        return self.meaning_lift if self.meaning or not self.lifts else self.lifts[0]

    @property
    def text(self) -> str:
        """The name as one string; "" without a name."""
        joined = self.meaning or " / ".join(self.terms)
        plain = f"mixed: {joined}" if joined and self.is_mixed else joined
        return f"{plain}, {self.apart}" if self.apart else plain


def names_of_clusters(codes: Int32, clusters: Int32, texts: list[str], k: int) -> list[ClusterName]:
    """Return the name of each of k clusters, from the codes of the images' terms; negative codes and clusters mean
    none.

    `codes` and `clusters` have shape (images,); shares are among the images of a cluster that have a term.
    """
    names = [ClusterName([], [], []) for _ in range(k)]
    table = contingency(codes, clusters, len(texts), k)
    if not table.total:
        return names
    share, lift, weight = _measured(table)
    # If all images have the same term, use it despite its lift of 1.
    kept = (lift > 1) | (table.row_sums[table.rows] == table.total)
    told = np.zeros(k)
    order = np.lexsort((table.rows, -weight, table.columns))
    for cell in order[kept[order]].tolist():
        cluster = table.columns[cell]
        name = names[cluster]
        if len(name.terms) < _TERMS and name.is_mixed:
            name.terms.append(texts[table.rows[cell]])
            name.shares.append(float(share[cell]))
            name.lifts.append(float(lift[cell]))
            told[cluster] += weight[cell]
    return _with_meanings(names, table, texts, told)


def disambiguated(names: list[ClusterName], clusters: Int32, classes: Int32, texts: list[str]) -> list[ClusterName]:
    """Return the names, with an addition that distinguishes each from others of the same text.

    `classes` int32 (images, top) are the most probable classes of each image, -1 for none, and `texts` their names. A
    class has a share p of a cluster's images and q of all images of the clusters of this name. The class with the
    highest p log(p / q) is added, the largest cluster first, and no class twice. If no class distinguishes a cluster, a
    number is added.
    """
    twins: dict[str, list[int]] = {}
    for cluster, name in enumerate(names):
        if name.text:
            twins.setdefault(name.text.casefold(), []).append(cluster)
    sizes = np.bincount(clusters[clusters >= 0], minlength=len(names))
    result = list(names)
    for same in twins.values():
        if len(same) > 1:
            ordered = sorted(same, key=lambda cluster: (-int(sizes[cluster]), cluster))
            for cluster, apart in _apart(ordered, names, clusters, classes, texts).items():
                result[cluster] = replace(names[cluster], apart=apart)
    return result


def _measured(table: Contingency) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share, the lift and the rank of each cell."""
    share = table.counts / table.column_sums[table.columns]
    lift = share / (table.row_sums[table.rows] / table.total)
    return share, lift, share * np.log(np.maximum(lift, 1))


def _with_meanings(
    names: list[ClusterName], table: Contingency, texts: list[str], told: np.ndarray
) -> list[ClusterName]:
    """Return the names, with a meaning in place of the terms if it is more descriptive."""
    several = [cluster for cluster, name in enumerate(names) if not name.shares or name.shares[0] < _COVERED - _SLACK]
    if not several:
        return names
    tree = imagenet_tree()
    paths = [tree.upwards(tree.find(text)) for text in texts]
    tells = np.array([meaning.tells for meaning in tree.meanings])
    overall = _above(paths, np.arange(len(texts)), table.row_sums, len(tells)) / table.total
    order = np.argsort(table.columns, kind="stable")
    starts = np.searchsorted(table.columns[order], np.arange(len(names) + 1))
    result = list(names)
    for cluster in several:
        cells = order[starts[cluster] : starts[cluster + 1]]
        if not len(cells):
            continue
        share = _above(paths, table.rows[cells], table.counts[cells], len(tells)) / table.column_sums[cluster]
        fit = tells & (share >= _COVERED - _SLACK) & (share > overall)
        weight = np.where(fit, share * np.log(np.where(fit, share, 1) / np.where(fit, overall, 1)), -1)
        # Of two meanings that cover the same, take the lower one: the more exact word.
        best = len(weight) - 1 - int(weight[::-1].argmax())
        if fit.any() and (names[cluster].is_mixed or weight[best] > told[cluster] + _SLACK):
            result[cluster] = replace(
                names[cluster],
                meaning=tree.meanings[best].word,
                meaning_share=float(share[best]),
                meaning_lift=float(share[best] / overall[best]),
            )
    return result


def _above(paths: list[list[int]], rows: Int64, counts: Int64, meanings: int) -> Int64:
    """Return the number of images at or below each meaning, from the counts of some terms."""
    total = np.zeros(meanings, np.int64)
    for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
        total[paths[row]] += count
    return total


def _apart(
    same: list[int], names: list[ClusterName], clusters: Int32, classes: Int32, texts: list[str]
) -> dict[int, str]:
    """Return the addition that distinguishes each of some clusters of one name from the others."""
    counts = np.array([_class_counts(classes[clusters == cluster], len(texts)) for cluster in same])
    sizes = np.array([int((clusters == cluster).sum()) for cluster in same])
    overall = counts.sum(axis=0) / sizes.sum()
    own = {term.casefold() for cluster in same for term in [names[cluster].text, *_only_term(names[cluster])]}
    free = np.array([text.casefold() not in own for text in texts], bool)
    found = {}
    for place, cluster in enumerate(same):
        share = counts[place] / sizes[place]
        fit = free & (share >= _TELLING) & (share > overall)
        if fit.any():
            weight = np.where(fit, share * np.log(np.where(fit, share, 1) / np.where(fit, overall, 1)), -1)
            best = int(weight.argmax())
            free[best] = False
            found[cluster] = texts[best]
        else:
            found[cluster] = str(place + 1)
    return found


def _only_term(name: ClusterName) -> list[str]:
    return name.terms if len(name.terms) == 1 and not name.meaning else []


def _class_counts(classes: Int32, count: int) -> Int64:
    """Return how many images have each class among their most probable ones; no image has a class twice."""
    seen: Int64 = np.bincount(classes[classes >= 0], minlength=count).astype(np.int64)
    return seen
