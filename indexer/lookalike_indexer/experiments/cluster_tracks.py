"""Sequence of a model's checkpoints: tracks of clusters, neighbors and aligned positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import procrustes
from sklearn.decomposition import PCA

from lookalike_indexer.arrays import Float32, Float64, Int32, Int64
from lookalike_indexer.collection.metrics import metric_of
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.checkpoint_steps import Step
from lookalike_indexer.experiments.space_sample import fitted
from lookalike_indexer.experiments.view import View
from lookalike_indexer.numerics.single_thread import one_thread
from lookalike_indexer.numerics.variation import all_equal
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare


@dataclass(frozen=True)
class TrackedStep:
    """A step, restricted to the images that all steps have.

    `clusters`, `tracks` and `predictions` (-1: none) are of shape (images,), `track_of` of shape (clusters,).
    `neighbors` (sample, k) are positions in the sample, by the `metric` of the space; `positions` (sample, 2) are the
    map. `disparity` is the residual of the Procrustes analysis, NaN at the first step.
    """

    step: Step
    clusters: Int32
    tracks: Int32
    track_of: Int32
    predictions: Int32
    neighbors: Int64
    metric: Metric
    positions: Float64
    disparity: float


def common_rows(view: View, steps: Sequence[Step]) -> Int64:
    """Return the images that every step has embedded and clustered."""
    there = np.ones(len(view), bool)
    for step in steps:
        there &= view.assigned(step.clustering).clusters >= 0
    return np.flatnonzero(there)


def track_clusters(view: View, steps: Sequence[Step], rows: Int64, sampled: Int64, k: int) -> list[TrackedStep]:
    """Return each step over some images; `sampled` are positions among them, compared by neighbors and maps."""
    followed: list[TrackedStep] = []
    for step in steps:
        followed.append(_followed(view, step, rows, sampled, k, followed[-1] if followed else None))
    return followed


def _followed(view: View, step: Step, rows: Int64, sampled: Int64, k: int, before: TrackedStep | None) -> TrackedStep:
    clusters = view.assigned(step.clustering).clusters[rows]
    count = view.reader.clustering(step.clustering).k
    track_of = matched(before.tracks, clusters, count) if before else np.arange(count, dtype=np.int32)
    metric = metric_of(view.reader.manifest, step.space)
    vectors = _vectors(view, step.space, rows[sampled], metric)
    positions, disparity = _aligned(_plane(vectors), before)
    return TrackedStep(
        step=step,
        clusters=clusters,
        tracks=track_of[clusters],
        track_of=track_of,
        predictions=_predictions(view, step.model, rows),
        neighbors=nearest_others(vectors, k, metric),
        metric=metric,
        positions=positions,
        disparity=disparity,
    )


def matched(before: Int32, clusters: Int32, count: int) -> Int32:
    """Return the track of each of `count` clusters, given the images' previous tracks and present clusters, both
    (images,).

    A cluster without a match begins a new track.
    """
    tracks = int(before.max()) + 1
    together = np.bincount(clusters.astype(np.int64) * tracks + before, minlength=count * tracks)
    mine, theirs = linear_sum_assignment(together.reshape(count, tracks), maximize=True)
    found = np.full(count, -1, np.int32)
    found[mine] = theirs
    new = np.flatnonzero(found < 0)
    found[new] = tracks + np.arange(len(new))
    return found


def churn(before: Int64, now: Int64) -> float:
    """Return the share of neighbors (images, k), distinct in each row, that were not neighbors before."""
    kept = (now[:, :, None] == before[:, None, :]).any(2)
    return float(1 - kept.mean())


def nearest_others(vectors: Float32, k: int, metric: Metric) -> Int64:
    """Return the k < n nearest other rows of each vector (n, dim), prepared for the metric, ties by row: (n, k)."""
    rows = np.arange(len(vectors))
    found, _ = exact_search([(rows, vectors)], vectors, k + 1, metric)
    own = found == rows[:, None]
    # If more than k copies precede it, a row does not find itself; then drop its last neighbor.
    own[~own.any(axis=1), -1] = True
    others: Int64 = found[~own].reshape(len(vectors), k)
    return others


def _vectors(view: View, space: str, rows: Int64, metric: Metric) -> Float32:
    stored = view.reader.vectors(space, np.searchsorted(view.space_rows(space), rows))
    vectors, _ = fitted(prepare(stored, metric), metric)
    return vectors


def _predictions(view: View, model: str, rows: Int64) -> Int32:
    try:
        first: Int32 = view.predicted(model).classes[rows, 0]
    except NotBuiltError:
        return np.full(len(rows), -1, np.int32)
    return first


def _plane(vectors: Float32) -> Float64:
    """Return the first two principal components of vectors (n, dim): (n, 2); zeros if all are equal."""
    if all_equal(vectors):
        return np.zeros((len(vectors), 2))
    with one_thread():
        places = PCA(min(2, *vectors.shape), svd_solver="full").fit_transform(vectors.astype(np.float64))
    # A one-dimensional space has one axis.
    padded: Float64 = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return padded


def _aligned(positions: Float64, before: TrackedStep | None) -> tuple[Float64, float]:
    """Return positions rotated, mirrored and scaled onto the previous ones, and the residual distance.

    The distance is NaN if there are no previous positions, or if all images coincide in either.
    """
    if not positions.any():
        return positions, float("nan")
    if before is None or not before.positions.any():
        first, _, _ = procrustes(positions, positions)
        return first, float("nan")
    _, second, disparity = procrustes(before.positions, positions)
    return second, float(disparity)
