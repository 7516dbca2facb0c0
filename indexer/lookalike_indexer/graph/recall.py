"""Recall of an approximate graph: the share of the k nearest that it contains, measured on a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.graph.finders import Comparison
from lookalike_indexer.graph.groups import Group
from lookalike_indexer.indexing.recall import as_near
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.sample import choose_rows

_QUERIES = 256
_SEED = 1234


def measured_recall(
    reader: CollectionReader, space: str, neighbors: Sequence[str], k: int, metric: Metric, progress: Progress
) -> tuple[float, int]:
    """Return the recall@k of the graph with the parts `neighbors`, and the number of sampled images.

    An image that is as near as the k-th nearest counts as found.
    """
    _, entry = reader.space(space)
    rows = np.sort(choose_rows(entry.rows, _QUERIES, _SEED))
    wanted = min(k, entry.rows - 1)
    if wanted < 1:
        return 1.0, 0
    ids = reader.ids(space)[rows]
    group = Group([], np.empty(0, np.int64), ids, reader.vectors(space, rows))
    with progress.stage("measure recall", entry.rows, "image") as bar:
        truth = Comparison(reader, entry.parts, metric)(group, wanted, bar)
    found = _found(reader, neighbors, ids, k)
    hits = found[:, :wanted] <= as_near(truth.distances[:, -1])[:, None]
    return float(hits.mean()), len(rows)


def _found(reader: CollectionReader, neighbors: Sequence[str], wanted: np.ndarray, k: int) -> Float32:
    """Return the distances (n, k) in a graph for some ids."""
    out = np.full((len(wanted), k), np.inf, np.float32)
    for path in neighbors:
        ids, _, distances = reader.graph_part(path)
        there = np.flatnonzero(np.isin(wanted, ids))
        out[there] = distances[np.searchsorted(ids, wanted[there])]
    return out
