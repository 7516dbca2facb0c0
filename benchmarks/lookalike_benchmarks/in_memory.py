"""The stages `cluster` and `build` over an array in memory, with the same functions.

The additional time of the real stages is the cost of reading Parquet parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.clustering.assign import Assigner
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.training import sample_size
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.files import write_index
from lookalike_indexer.indexing.recall import measure_recall
from lookalike_indexer.indexing.recipes import choose, held_out_count
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows, read_rows


class ArrayReader(CollectionReader):
    """Reader of a space from an array; its `storage` has no parts, so that none can be read."""

    def __init__(self, storage: Storage, manifest: Manifest, vectors: Float32) -> None:
        super().__init__(storage, manifest)
        self._vectors = vectors

    def stream(self, space: str = "", rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        for start in range(0, len(self._vectors), rows):
            block = self._vectors[start : start + rows]
            yield np.arange(start, start + len(block)), block

    def stream_ahead(self, space: str = "", rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        return self.stream(space, rows)

    def vectors(self, space: str, rows: Int64) -> Float32:
        return self._vectors[rows]


def cluster(reader: ArrayReader, k: int, settings: ClusterSettings) -> None:
    """Sample, train and assign."""
    space, entry = reader.space()
    size = sample_size(entry.rows, k, settings)
    rows = np.sort(choose_rows(entry.rows, size, settings.seed))
    trained = train(read_rows(reader, space, rows, settings.metric, Silent()), k, settings, Silent())
    assigner = Assigner(trained.centroids, settings.gpus)
    for _, vectors in reader.stream(space):
        assigner.assign(prepare(vectors, settings.metric))


def build_index(reader: ArrayReader, settings: BuildSettings) -> None:
    """Sample, train, fill, write, and measure the recall."""
    space, entry = reader.space()
    recipe = choose(entry.rows, entry.dim, settings)
    index = build.empty_index(recipe.factory, entry.dim, settings.metric, settings.seed)
    picked = choose_rows(entry.rows, recipe.train_size + held_out_count(entry.rows), settings.seed)
    train_rows, query_rows = np.sort(picked[: recipe.train_size]), np.sort(picked[recipe.train_size :])
    sample = read_rows(reader, space, np.concatenate([query_rows, train_rows]), settings.metric, Silent())
    queries = sample[: len(query_rows)].copy()
    if recipe.train_size:
        build.train(index, sample[len(query_rows) :], recipe.factory, settings.gpus, Silent())
    build.fill(index, reader, space, settings.metric, Silent())
    path = layout.index(space, "in-memory")
    write_index(reader.storage, path, index)
    reader.storage.digest(path)
    measure_recall(index, reader, space, settings.metric, query_rows, queries, Silent())
