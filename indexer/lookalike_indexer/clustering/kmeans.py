"""k-means by faiss, one iteration at a time so that each can be observed.

This is Lloyd's algorithm as in faiss.Kmeans (Johnson, Douze, Jegou: Billion-scale similarity search with GPUs, 2017),
which fills empty clusters by splitting large ones. It starts from the choice of k-means++ (`seeding.py`). A local
search follows for small tasks (`local_search.py`). One call of faiss.Kmeans with n iterations, and n calls with one
iteration each that start from the last centroids, give the same centroids. Large tasks use another implementation of
an iteration, which several devices or machines can share; see `lloyd_step.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.distinct import distinct_rows
from lookalike_indexer.clustering.lloyd_step import LloydStep
from lookalike_indexer.clustering.local_search import searchable, searched
from lookalike_indexer.clustering.seeding import starting_rows
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.trained_centroids import Trained
from lookalike_indexer.clustering.training_shares import opened_shares, worthwhile
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.numerics.grid import on_grid, unit_scale
from lookalike_indexer.progress import Bar, Progress
from lookalike_indexer.vectors.flat import flat_index
from lookalike_indexer.vectors.metric import prepare

# Maps centroids of shape (k, dim) to those after one update, and the inertia before it.
Step = Callable[[Float32], tuple[Float32, float]]
# Maps the seed of a run to its step.
Steps = Callable[[int], Step]

# The distance of faiss's own restart seeds, so that `restarts` means the same as its `nredo`.
_RESTART_STRIDE = 15486557


def train(
    vectors: Float32, k: int, settings: ClusterSettings, progress: Progress, machines: Machines | None = None
) -> Trained:
    """Train k centroids on vectors of shape (n, dim), n >= k, all finite and prepared for the metric.

    With `machines`, those of a cluster share the iterations of a large task; errors are those of `Machines.session`.

    The restart with the least inertia wins, the first of equal ones. A small task continues with a local search from
    its restarts; if that reduces the inertia, the new value comes last. If the vectors have at most k distinct values,
    these are the centroids in order of first occurrence, and the first of them is repeated until there are k. Ties go
    to the lower cluster, so the repeated ones stay empty.
    """
    few = distinct_rows(vectors, k)
    if few is not None:
        return _without_training(vectors, few, k, settings)
    restarts = settings.restarts or 1
    seeds = [seed_of(settings, restart) for restart in range(restarts)]
    # Starts are a separate stage: each takes as long as many iterations, which would distort the estimate of the
    # remaining time.
    starts = []
    with progress.stage("k-means++", restarts, "start") as bar:
        for seed in seeds:
            starts.append(starting_rows(vectors, k, seed))
            bar.advance()
    with (
        _steps(vectors, k, settings, machines) as step,
        progress.stage("k-means", settings.iterations * restarts, "iteration") as bar,
    ):
        runs = [
            _refined(step(seed), _centroids(vectors[rows], settings), settings, bar)
            for rows, seed in zip(starts, seeds, strict=True)
        ]
    runs.sort(key=lambda run: run.inertia[-1])
    return _searched(vectors, runs, settings) if searchable(len(vectors), k, vectors.shape[1]) else runs[0]


def seed_of(settings: ClusterSettings, restart: int) -> int:
    """Return the seed of one restart, counted from 0."""
    return (settings.seed + restart * _RESTART_STRIDE) % 2**31


def start_of(vectors: Float32, k: int, settings: ClusterSettings, seed: int) -> Float32:
    """Return the centroids (k, dim) that training starts from."""
    return _centroids(vectors[starting_rows(vectors, k, seed)], settings)


def refine(vectors: Float32, start: Float32, settings: ClusterSettings, seed: int, bar: Bar) -> Trained:
    """Train from centroids (k, dim); `seed` decides how large clusters are split to fill empty ones."""
    with _steps(vectors, len(start), settings, None) as step:
        return _refined(step(seed), start, settings, bar)


def _refined(step: Step, start: Float32, settings: ClusterSettings, bar: Bar) -> Trained:
    centroids = start
    inertia: list[float] = []
    for done in range(settings.iterations):
        updated, before = step(centroids)
        inertia.append(before)
        bar.advance()
        bar.note(f"inertia {before:.6g}")
        if np.array_equal(updated, centroids):
            # The centroids are final: every further iteration would repeat this one.
            bar.advance(settings.iterations - done - 1)
            break
        centroids = updated
    return Trained(centroids, inertia)


def _centroids(chosen: Float32, settings: ClusterSettings) -> Float32:
    return prepare(chosen, "cosine") if settings.spherical else chosen


def _searched(vectors: Float32, runs: list[Trained], settings: ClusterSettings) -> Trained:
    """Return the centroids that a local search finds from these runs, which are sorted best first."""
    scale = unit_scale(float(np.linalg.norm(vectors, axis=1).max()))
    points = on_grid(vectors * scale)
    starts = [assign(vectors, run.centroids).clusters.astype(np.int64) for run in runs]
    groups = searched(points, starts, len(runs[0].centroids), spherical=settings.spherical)
    means = groups.sums / np.maximum(groups.sizes, 1)[:, None] / scale
    centroids = means.astype(np.float32)
    if settings.spherical:
        centroids = prepare(centroids, "cosine")
    # An empty cluster keeps its centroid.
    empty = groups.sizes == 0
    centroids[empty] = runs[0].centroids[empty]
    reached = _inertia(vectors, centroids)
    # If the search found no improvement, the difference is rounding.
    return Trained(centroids, [*runs[0].inertia, reached]) if reached < runs[0].inertia[-1] else runs[0]


@contextmanager
def _steps(vectors: Float32, k: int, settings: ClusterSettings, machines: Machines | None) -> Iterator[Steps]:
    """Yield the steps of runs on the same vectors: by shares of a large task, by faiss of a small one."""
    if worthwhile(len(vectors), k, vectors.shape[1], settings.gpus):
        with opened_shares(vectors, settings.gpus, machines) as shares:
            shared = LloydStep(shares, settings.spherical)
            yield lambda seed: shared
        return

    def by_faiss(seed: int) -> Step:
        kmeans = _kmeans(vectors.shape[1], k, settings, seed)

        def step(centroids: Float32) -> tuple[Float32, float]:
            kmeans.train(vectors, init_centroids=centroids)
            return kmeans.centroids, float(kmeans.obj[-1])

        return step

    yield by_faiss


def _kmeans(dim: int, k: int, settings: ClusterSettings, seed: int) -> faiss.Kmeans:
    """Return a faiss.Kmeans with a single iteration."""
    kmeans = faiss.Kmeans(
        dim,
        k,
        niter=1,
        seed=seed,
        spherical=settings.spherical,
        # The sample is already drawn, the warning about few points is not useful for users of small collections, and
        # the vectors are known to be finite.
        min_points_per_centroid=1,
        max_points_per_centroid=2**31 - 1,
        check_input_data_for_NaNs=False,
    )
    # faiss.Kmeans accepts the number of GPUs but not their ids, and for spherical centroids it uses an index that
    # returns similarities. This index is on the requested GPUs, and always returns squared distances: among unit
    # centroids the nearest is the most similar one.
    kmeans.index = flat_index(dim, faiss.METRIC_L2, settings.gpus)
    return kmeans


def _without_training(vectors: Float32, few: Float32, k: int, settings: ClusterSettings) -> Trained:
    centroids = np.concatenate([few, np.repeat(few[:1], k - len(few), axis=0)])
    if settings.spherical:
        centroids = prepare(centroids, "cosine")
    return Trained(centroids, [_inertia(vectors, centroids)])


def _inertia(vectors: Float32, centroids: Float32) -> float:
    return float(np.square(assign(vectors, centroids).distances, dtype=np.float64).sum())
