"""Names for clusters: what is frequent in a cluster and rarer elsewhere.

Each term t (a label, or a class that a model predicts) has a share p in the
cluster and q among all images; p / q is its lift. Terms are ranked by
p log(p / q), their part in the Kullback-Leibler divergence of the cluster from
the whole: a share alone would name every cluster after the most frequent
term, a lift alone after the rarest one. Terms with a lift of 1 or less name
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike_indexer.experiments.metrics import contingency
from lookalike_indexer.experiments.view import Int32

# At most so many terms, and no more once they cover this share of the cluster.
_TERMS, _COVERED = 3, 0.5


@dataclass(frozen=True)
class Named:
    """A name: its terms with the share and lift of each. It is mixed when they cover less than half of the cluster."""

    terms: list[str]
    shares: list[float]
    lifts: list[float]

    @property
    def is_mixed(self) -> bool:
        return sum(self.shares) < _COVERED - 1e-9

    @property
    def text(self) -> str:
        """The terms as one text; "" without any."""
        joined = " / ".join(self.terms)
        return f"mixed: {joined}" if joined and self.is_mixed else joined


def names_of_clusters(codes: Int32, clusters: Int32, texts: list[str], k: int) -> list[Named]:
    """The name of each of k clusters, from the codes of the images' terms; a code or cluster below 0 stands for none.

    `codes` and `clusters` have shape (images,); shares are among the images
    of a cluster that have a term.
    """
    names = [Named([], [], []) for _ in range(k)]
    table = contingency(codes, clusters, len(texts), k)
    if not table.total:
        return names
    share = table.counts / table.column_sums[table.columns]
    overall = table.row_sums[table.rows] / table.total
    lift = share / overall
    # Where every image has the same term, it is what there is to say.
    kept = (lift > 1) | (overall == 1)
    weight = share * np.log(np.maximum(lift, 1))
    order = np.lexsort((table.rows, -weight, table.columns))
    for cell in order[kept[order]].tolist():
        name = names[table.columns[cell]]
        if len(name.terms) < _TERMS and name.is_mixed:
            name.terms.append(texts[table.rows[cell]])
            name.shares.append(float(share[cell]))
            name.lifts.append(float(lift[cell]))
    return names
