"""k-means of several libraries, from one start and with the same number of iterations."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.kmeans import refine, start_of
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.progress import Silent


@dataclass(frozen=True)
class Task:
    """Input of each trainer: vectors (n, dim), k, iterations, the start (k, dim) and the seed of the start."""

    vectors: Float32
    k: int
    iterations: int
    start: Float32
    seed: int

    @classmethod
    def started(cls, vectors: Float32, k: int, iterations: int, seed: int) -> Task:
        """Start from the rows that Lookalike chooses for this seed."""
        return cls(vectors, k, iterations, start_of(vectors, k, ClusterSettings(seed=seed), seed), seed)


@dataclass(frozen=True)
class Trained:
    """Centroids (k, dim), the number of full assignments, and the number of centroid updates."""

    centroids: Float32
    assignments: int
    iterations: int


Trainer = Callable[[Task], Trained]


def trainers(gpus: Sequence[int]) -> dict[str, Trainer]:
    """Return the trainers that can run here, by name; scikit-learn's only on the processor."""
    found: dict[str, Trainer] = {
        "lookalike": lambda task: _lookalike(task, gpus),
        "faiss.Kmeans": lambda task: _faiss(task, gpus),
    }
    if not gpus and has_sklearn():
        found |= {"scikit-learn KMeans": _lloyd, "scikit-learn MiniBatchKMeans": _mini_batch}
    return found


def has_sklearn() -> bool:
    return importlib.util.find_spec("sklearn") is not None


def inertia(vectors: Float32, centroids: Float32) -> float:
    """Return the sum of squared distances to the nearest centroids, computed alike for every trainer."""
    blocks = range(0, len(vectors), 4096)
    distances = [assign(vectors[start : start + 4096], centroids).distances for start in blocks]
    return float(np.square(np.concatenate(distances), dtype=np.float64).sum())


def _lookalike(task: Task, gpus: Sequence[int]) -> Trained:
    settings = ClusterSettings(iterations=task.iterations, restarts=1, seed=task.seed, gpus=tuple(gpus))
    with Silent().stage("k-means", task.iterations, "iteration") as bar:
        trained = refine(task.vectors, task.start, settings, task.seed, bar)
    done = len(trained.inertia)
    return Trained(trained.centroids, done, done)


def _faiss(task: Task, gpus: Sequence[int]) -> Trained:
    kmeans = _kmeans(task.vectors.shape[1], task.k, task.iterations, task.seed, gpu=len(gpus))
    kmeans.train(task.vectors, init_centroids=task.start)
    return Trained(kmeans.centroids, task.iterations, task.iterations)


def _kmeans(dim: int, k: int, iterations: int, seed: int, gpu: int = 0) -> faiss.Kmeans:
    # Train on all vectors: by default, faiss samples 256 for each centroid.
    bounds = {"min_points_per_centroid": 1, "max_points_per_centroid": 2**31 - 1}
    return faiss.Kmeans(dim, k, niter=iterations, seed=seed, gpu=gpu, **bounds)


def _lloyd(task: Task) -> Trained:
    from sklearn.cluster import KMeans

    kmeans = KMeans(task.k, init=task.start, n_init=1, max_iter=task.iterations, tol=0, algorithm="lloyd")
    with warnings.catch_warnings():
        # Hide the warning about missing convergence, which is expected.
        warnings.simplefilter("ignore")
        kmeans.fit(task.vectors)
    # If it stops before convergence, it assigns once more for its labels.
    return Trained(kmeans.cluster_centers_, kmeans.n_iter_ + (kmeans.n_iter_ == task.iterations), kmeans.n_iter_)


def _mini_batch(task: Task) -> Trained:
    """Run as many passes over the vectors as there are iterations."""
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(
        task.k,
        init=task.start,
        n_init=1,
        max_iter=task.iterations,
        tol=0,
        max_no_improvement=None,
        random_state=task.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kmeans.fit(task.vectors)
    return Trained(kmeans.cluster_centers_, kmeans.n_iter_ + 1, kmeans.n_iter_)
