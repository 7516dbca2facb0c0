"""Agreement between clusterings of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pyarrow as pa

from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.experiments.view import View


def pairwise_agreement(view: View, clusterings: Sequence[str]) -> pa.Table:
    """Return ARI and NMI of each pair of clusterings: first, second, ari, nmi, images (those assigned in both)."""
    lines = []
    for first, second in combinations(clusterings, 2):
        one, other = view.assigned(first), view.assigned(second)
        table = contingency(one.clusters, other.clusters, one.entry.k, other.entry.k)
        found = agreement(table)
        lines.append({"first": first, "second": second, "ari": found.ari, "nmi": found.nmi, "images": table.total})
    return pa.Table.from_pylist(lines, schema=_SCHEMA)


_SCHEMA = pa.schema(
    [
        ("first", pa.string()),
        ("second", pa.string()),
        ("ari", pa.float64()),
        ("nmi", pa.float64()),
        ("images", pa.int64()),
    ]
)
