"""A collection for the explorer: synthetic vectors with JPEG files under their keys, and a map."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookalike_benchmarks.servable import pictures
from lookalike_benchmarks.synthetic import SPACE, key, write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.stored_results import store_result
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent

# Files are hard links to a few images: each is read and decoded, but their content does not matter.
_PICTURES = 64


def write_explorable(folder: Path, rows: int, dim: int, clusters: int, seed: int) -> Path:
    """Write a collection of `rows` images into `folder`, with an index, a clustering and the map "map/plane"."""
    root = folder / f"collection-{rows}"
    shown = folder / f"pictures-{rows}"
    _link_pictures(shown, rows, seed)
    write_collection(str(root), Clustered(rows=rows, dim=dim, seed=seed), pictures=shown)
    storage = Storage(root)
    draft, _ = run_build(storage, generations.require_latest(storage), BuildSettings(index="flat"), Silent())
    few = ClusterSettings(clusters=clusters, restarts=1, iterations=5, points_per_centroid=64)
    draft, _ = run_cluster(storage, draft, few, Silent())
    generations.publish(storage, draft)
    reader = CollectionReader.open(str(root))
    places = np.concatenate(list(Clustered(rows=rows, dim=2, seed=seed).blocks()))
    table = pa.table({"id": np.arange(rows), "x": places[:, 0], "y": places[:, 1]})
    store_result(reader, "plane", Result("map", {"space": SPACE, "method": "synthetic"}, {"map": table}))
    return root


def _link_pictures(folder: Path, rows: int, seed: int) -> None:
    files = []
    folder.mkdir(parents=True)
    for number, data in enumerate(pictures(_PICTURES, seed)):
        files.append(folder / f"{number}.jpg")
        files[-1].write_bytes(data)
    for row in range(rows):
        path = folder / key(row)
        if row % 500 == 0:
            path.parent.mkdir()
        os.link(files[row % _PICTURES], path)
