"""Cost model of search time over all rows relative to the timed sample, for each index type.

A trial times each type over some ten thousand rows at most, where an exact search performs well. The number of
comparisons grows differently for each type:

- flat types compare the query with every row: N;
- types with inverted lists compare it with each of the nlist centroids and with the entries of nprobe lists:
  nlist + nprobe * N / nlist, with the nlist of N rows and the nprobe that the trial found;
- a graph is traversed in a number of steps that grows with log N (Malkov and Yashunin, Efficient and robust approximate
  nearest neighbor search using Hierarchical Navigable Small World graphs, 2016).
"""

from __future__ import annotations

import math

from lookalike_indexer.indexing.recipes import list_count, parse_projected
from lookalike_indexer.indexing.settings import BuildSettings

RULE = (
    "scaled by what a search compares: all N images (flat), nlist + nprobe * N / nlist with the nlist of N (ivf), "
    "log N steps (hnsw)"
)


def slowdown(kind: str, nprobe: int, sampled: BuildSettings, sample: int, built: BuildSettings, rows: int) -> float:
    """Return the ratio of a search's time over `rows` to that over `sample`, for one of recipes.NAMES.

    `sampled` and `built` are the settings that determine the number of lists over the sample and over all rows.
    """
    return _compared(kind, nprobe, built, rows) / _compared(kind, nprobe, sampled, sample)


def _compared(kind: str, nprobe: int, settings: BuildSettings, rows: int) -> float:
    """Return the number of comparisons of a search, up to a factor that depends only on the type."""
    # For a two-stage index, count only the first stage: the second compares a fixed number of candidates.
    kind = kind.split("-", 1)[1] if parse_projected(kind) else kind
    if kind == "hnsw":
        return math.log2(max(2, rows))
    if not kind.startswith("ivf-"):
        return float(rows)
    nlist = list_count(rows, settings)
    return nlist + min(nprobe, nlist) * rows / nlist
