"""Print the numbers of experiments over a collection as JSON: `python print_numbers.py COLLECTION`.

A separate program, because BLAS and OpenMP read the environment for kernel and threads when they are loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.choose_k import choose_k
from lookalike_indexer.experiments.compare import COSTS, compare
from lookalike_indexer.experiments.explain import explain
from lookalike_indexer.experiments.image_clusters import image_clusters
from lookalike_indexer.experiments.interpret import interpret_clusters
from lookalike_indexer.experiments.map2d import map2d
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.split import split_label
from lookalike_indexer.experiments.view import View

EXPERIMENTS: dict[str, Callable[[View], Result]] = {
    "split_label": lambda view: split_label(view, "label0"),
    "oddballs": lambda view: oddballs(view, method="embeddings"),
    "image_clusters": lambda view: image_clusters(view, 5),
    "explain": lambda view: explain(view, 5),
    "interpret_clusters": interpret_clusters,
    "class_matrix": class_matrix,
    "choose_k": lambda view: choose_k(view, last=6, seeds=2),
    "compare": lambda view: compare(view, clusters=4),
    "pca": map2d,
    "tsne": lambda view: map2d(view, method="tsne", sample=60),
}


def numbers(result: Result) -> dict[str, list[object]]:
    """Return every figure and column of a result by name, except costs, which differ each time."""
    found: dict[str, list[object]] = {f"figure {name}": [value] for name, value in result.figures.items()}
    for table_name, table in result.tables.items():
        if table_name != COSTS:
            found |= {f"{table_name} {column}": table.column(column).to_pylist() for column in table.column_names}
    return found


if __name__ == "__main__":
    opened = View(CollectionReader.open(sys.argv[1]))
    np.seterr(all="ignore")
    json.dump({name: numbers(run(opened)) for name, run in EXPERIMENTS.items()}, sys.stdout)
