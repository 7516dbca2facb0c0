"""Accuracy of `choose-k` on mixtures of labeled image sets: how close it comes to the number of classes.

    python -m lookalike_benchmarks.choose_k_mixtures COLLECTION... [--mixtures 8] [--seed 1]

Measures each whole collection, and `--mixtures` mixtures of 6 to 25 of its classes.
The number of classes is compared with the suggestions only afterwards: no rule
sees a label.
"""

from __future__ import annotations

import argparse

import numpy as np

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.choose_k import silhouettes_of, tried_numbers
from lookalike_indexer.experiments.communities import count_communities
from lookalike_indexer.experiments.partition_quality import distances_between
from lookalike_indexer.experiments.suggestions import label_routes, suggestions
from lookalike_indexer.experiments.view import View
from lookalike_indexer.vectors.metric import prepare

_LIMIT = 0.3


def main() -> None:
    """Print a line for each set: classes, suggestions, and whether one is within 30%."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--mixtures", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--last", type=int, default=64)
    asked = parser.parse_args()
    hits = []
    print("| set | classes | images | suggested | within 30% |\n|---|---|---|---|---|")
    for path in asked.collections:
        view = View(CollectionReader.open(path))
        space, entry = view.reader.space()
        blocks = list(view.stream(space))
        rows = np.concatenate([block for block, _ in blocks])
        vectors = prepare(np.concatenate([block for _, block in blocks]), "cosine")
        predicted = view.predicted(entry.model)
        labels = view.labels[rows]
        draw = np.random.default_rng(asked.seed)
        count = len(view.label_names)
        sizes = [count, *draw.integers(6, min(25, count - 1) + 1, asked.mixtures).tolist()]
        for size in sizes:
            own = np.isin(labels, draw.choice(count, size, replace=False))
            numbers = tried_numbers(2, min(asked.last, int(own.sum()) - 1))
            distances = distances_between(vectors[own], "cosine")
            silhouettes = silhouettes_of(vectors[own], distances, numbers, seeds=2, seed=1234)
            kept = rows[own]
            routes = label_routes(predicted.classes[kept, 0], predicted.probabilities[kept, 0], predicted.names)
            routes["communities"] = count_communities(distances, seed=1234)
            found = suggestions(numbers, silhouettes, routes)
            hit = any(abs(each.k - size) <= _LIMIT * size for each in found)
            hits.append(hit)
            told = ", ".join(f"{each.k} ({each.route})" for each in found)
            name = f"{view.reader.name}{' whole' if size == count else ''}"
            print(f"| {name} | {size} | {own.sum()} | {told} | {'yes' if hit else 'no'} |", flush=True)
    print(f"\n{sum(hits)} of {len(hits)} sets: one of the suggestions is within 30% of the number of classes.")


if __name__ == "__main__":
    main()
