"""Inertia of Lookalike's k-means over that of scikit-learn, on labeled image sets and mixtures of them.

    python -m lookalike_benchmarks.kmeans_ratios COLLECTION... [--mixtures 3] [--clusters 5,10,20,50,100] [--seed 1]

Measures each whole collection, `--mixtures` mixtures of 6 to 25 of its classes, and all
collections together. Lookalike clusters with the default settings of `lookalike cluster`.
scikit-learn's result is the KMeans with n_init=10 of least inertia among `--fits` fits,
each with another seed. Inertia is computed on all images, in float64.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.choice import choose_restarts
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.training import find_centroids, sample_size
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows

_LIMIT = 1.002


def main() -> None:
    """Print a line for each set: its images, and the ratio for each number of clusters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--mixtures", type=int, default=3)
    parser.add_argument("--clusters", default="5,10,20,50,100")
    parser.add_argument("--fits", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    numbers = [int(number) for number in asked.clusters.split(",")]
    print(f"| set | images | {' | '.join(f'k {k}' for k in numbers)} |\n|{'---|' * (2 + len(numbers))}")
    ratios = []
    for name, vectors in _sets(asked.collections, asked.mixtures, asked.seed):
        found = [_ratio(vectors, k, asked.fits) for k in numbers if 2 * k <= len(vectors)]
        cells = [f"{ratio:.4f}" for ratio in found] + [""] * (len(numbers) - len(found))
        print(f"| {name} | {len(vectors)} | {' | '.join(cells)} |", flush=True)
        ratios += found
    within = sum(ratio <= _LIMIT for ratio in ratios)
    print(f"\n{within} of {len(ratios)} at most {_LIMIT}; the greatest {max(ratios):.4f}.")


def _sets(collections: list[str], mixtures: int, seed: int) -> list[tuple[str, Float32]]:
    found, whole = [], []
    for path in collections:
        view = View(CollectionReader.open(path))
        space, _ = view.reader.space()
        blocks = list(view.stream(space))
        labels = view.labels[np.concatenate([rows for rows, _ in blocks])]
        vectors = prepare(np.concatenate([block for _, block in blocks]), "cosine")
        whole.append(vectors)
        found.append((f"{view.reader.name} whole", vectors))
        draw = np.random.default_rng(seed)
        count = len(view.label_names)
        for classes in draw.integers(6, min(25, count - 1) + 1, mixtures).tolist():
            own = np.isin(labels, draw.choice(count, classes, replace=False))
            found.append((f"{view.reader.name}, {classes} classes", vectors[own]))
    if len(whole) > 1:
        found.append(("all together", np.concatenate(whole)))
    return found


def _ratio(vectors: Float32, k: int, fits: int) -> float:
    from sklearn.cluster import KMeans

    settings = ClusterSettings(clusters=k)
    size = sample_size(len(vectors), k, settings)
    restarts = choose_restarts(size, k, vectors.shape[1], settings)
    sample = vectors[np.sort(choose_rows(len(vectors), size, settings.seed))]
    settings = dataclasses.replace(settings, restarts=restarts)
    ours = find_centroids(sample, k, settings, Silent()).trained.centroids
    theirs = [KMeans(k, n_init=10, random_state=seed).fit(vectors).cluster_centers_ for seed in range(fits)]
    return _inertia(vectors, ours) / min(_inertia(vectors, centroids) for centroids in theirs)


def _inertia(vectors: Float32, centroids: Float32) -> float:
    return float(np.square(assign(vectors, centroids).distances, dtype=np.float64).sum())


if __name__ == "__main__":
    main()
