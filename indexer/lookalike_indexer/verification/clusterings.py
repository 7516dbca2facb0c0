"""Check that each image is assigned to its nearest centroid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike_indexer.arrays import Int64
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.collection.manifest import ClusteringEntry
from lookalike_indexer.collection.reader import Assignments
from lookalike_indexer.vectors.sample import choose_rows
from lookalike_indexer.verification.examination import Examination

_BLOCK = 4096
# Distances are sums in float64, whose order differs between libraries; they are stored in float32.
_TOLERANCE = 1e-4


def check_clusterings(examination: Examination) -> None:
    """Assign a sample of each clustering's images again, or all of them."""
    manifest = examination.reader.manifest
    looked, left_out = 0, []
    total = sum(len(_rows(examination, entry)) for entry in manifest.clusterings.values())
    with examination.progress.stage("assignments", total, "image") as bar:
        for name, entry in sorted(manifest.clusterings.items()):
            parts = manifest.parts_of(entry)
            fits = manifest.rows(parts) == manifest.rows(entry.assignments) == entry.rows
            if not fits or not examination.intact([*entry.files, *entry.assignments, *parts]):
                left_out.append(name)
                continue
            for rows in _check(examination, name, entry):
                looked += rows
                bar.advance(rows)
    note = f"{', '.join(left_out)} or their embeddings are damaged and were left out" if left_out else ""
    examination.checked("assignments", looked, "images", note)


def _check(examination: Examination, name: str, entry: ClusteringEntry) -> Iterator[int]:
    """Yield the number of checked images for each block."""
    reader = examination.reader
    stored = reader.assignments(name)
    if not np.isfinite(reader.centroids(name)).all():
        examination.damaged(entry.centroids, "has centroids that are not finite")
        return
    rule = Rule.of(reader, name)
    if rule.whitening is not None and not rule.whitening.is_finite:
        examination.damaged(entry.whitening, "has values that are not finite")
        return
    parts, dim = reader.manifest.parts_of(entry), reader.manifest.spaces[entry.space].dim
    rows = _rows(examination, entry)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        vectors = reader.vectors_of(parts, block, dim)
        if not np.isfinite(vectors).all():
            path = _path_of(examination, parts, int(block[0]))
            examination.damaged(path, "has embeddings that are not finite")
            return
        found = rule.assign(vectors)
        near = np.isclose(found.distances, stored.distances[block], rtol=_TOLERANCE, atol=_TOLERANCE)
        wrong = np.flatnonzero((found.clusters != stored.clusters[block]) | ~near)
        if len(wrong):
            row = int(block[wrong[0]])
            what = _description(stored, row, int(found.clusters[wrong[0]]), float(found.distances[wrong[0]]))
            examination.damaged(_path_of(examination, entry.assignments, row), what)
            return
        yield len(block)


def _rows(examination: Examination, entry: ClusteringEntry) -> Int64:
    settings = examination.settings
    if settings.deep:
        return np.arange(entry.rows, dtype=np.int64)
    return np.sort(choose_rows(entry.rows, settings.rows, settings.seed))


def _description(stored: Assignments, row: int, cluster: int, distance: float) -> str:
    return (
        f"assigns image {stored.ids[row]} to cluster {stored.clusters[row]} at distance {stored.distances[row]:.6g}, "
        f"and its nearest centroid is {cluster} at {distance:.6g}"
    )


def _path_of(examination: Examination, parts: list[str], row: int) -> str:
    ends = np.cumsum([examination.reader.manifest.files[path].rows or 0 for path in parts])
    return parts[int(np.searchsorted(ends, row, side="right"))]
