"""How much longer a search takes over all rows than over the timed sample: a cost model for each kind of index.

A trial times each kind over at most some ten thousand rows, where an exact
search hardly loses. What a search compares grows otherwise in each kind:

- flat kinds compare the query with every row: N;
- kinds with inverted lists compare it with each of the nlist centroids and
  with the entries of nprobe lists: nlist + nprobe * N / nlist, with the nlist
  that N rows get and the nprobe that the trial found;
- a graph is walked in a number of steps that grows with log N (Malkov and
  Yashunin, Efficient and robust approximate nearest neighbor search using
  Hierarchical Navigable Small World graphs, 2016).
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
    """How many times as long a search takes over `rows` as over `sample`, for one of recipes.NAMES.

    `sampled` and `built` are the settings that decide the number of lists over
    the sample and over all rows.
    """
    return _compared(kind, nprobe, built, rows) / _compared(kind, nprobe, sampled, sample)


def _compared(kind: str, nprobe: int, settings: BuildSettings, rows: int) -> float:
    """What a search compares, up to a factor that depends on the kind alone."""
    # Of an index in two stages, what the first compares: the second looks at as many candidates whatever N is.
    kind = kind.split("-", 1)[1] if parse_projected(kind) else kind
    if kind == "hnsw":
        return math.log2(max(2, rows))
    if not kind.startswith("ivf-"):
        return float(rows)
    nlist = list_count(rows, settings)
    return nlist + min(nprobe, nlist) * rows / nlist
