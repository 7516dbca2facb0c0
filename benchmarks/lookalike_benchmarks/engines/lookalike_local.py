"""Lookalike in a process: a collection's index, searched as the server searches it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.v1 import filter_pb2
from lookalike_benchmarks.engines.shape import GRAPH_EFFORTS, Columns, Where
from lookalike_benchmarks.synthetic import SPACE, Given, key, write_collection
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.attributes.attach import attach
from lookalike_indexer.attributes.table import TableColumns
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.products import multiply_from_few
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.limits import Limits
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.filters.matching import Filters
from lookalike_server.placement.kinds import Measured
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.searcher import OnDevice


def build_collection(vectors: Float32, folder: Path, index: str) -> CollectionReader:
    """Write a collection of the vectors and index it."""
    root = folder / "collection"
    write_collection(str(root), Given(vectors))
    storage = Storage(root)
    draft, _ = run_build(storage, generations.require_latest(storage), BuildSettings(index=index), Silent())
    return CollectionReader(storage, generations.publish(storage, draft))


def steps(entry: IndexEntry) -> Sequence[int]:
    """Return the numbers of lists to visit: powers of two and their midpoints; efforts for a graph; 0 otherwise."""
    if not entry.nlist:
        return GRAPH_EFFORTS if entry.default_nprobe else [0]
    powers = [2**power for power in range(entry.nlist.bit_length())]
    return sorted({*powers, *(power * 3 // 2 for power in powers if power * 3 // 2 <= entry.nlist)})


class LookalikeLocal:
    def __init__(self, index: str = "auto") -> None:
        self._wanted = index
        self._threads = ThreadBudget.detect()
        self.efforts: Sequence[int] = [0]

    def build(self, vectors: Float32, folder: Path) -> None:
        self._open(build_collection(vectors, folder, self._wanted))

    def build_with(self, vectors: Float32, columns: Columns, folder: Path) -> None:
        reader = build_collection(vectors, folder, self._wanted)
        table = folder / "columns.parquet"
        pq.write_table(pa.table({"key": [key(row) for row in range(len(vectors))], **columns}), table)
        storage = reader.storage
        draft, _ = attach(storage, reader.manifest, table, "columns", TableColumns("key"), Silent())
        reader = CollectionReader(storage, generations.publish(storage, draft))
        self._open(reader)
        ids = reader.images(["id"]).column("id").to_numpy()
        self._filters = Filters(reader, ids, {}, Limits().max_filter_bytes)

    def _open(self, reader: CollectionReader) -> None:
        self._entry = reader.index()
        index = faiss.read_index(str(reader.storage.local(self._entry.path)))
        multiply_from_few(int(index.d), faiss.omp_get_max_threads())
        self._searcher = OnDevice("cpu", index, self._entry.metric, measured=Measured(self._entry.recall))
        self.efforts = steps(self._entry)

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        # As in a server, one query has one thread: two would wait for each other within each call.
        self._threads.claim_search(len(queries))
        return self._searcher.search(prepare(queries, self._entry.metric), k, effort)[0]

    def search_where(self, queries: Float32, k: int, effort: int, where: Sequence[Where]) -> Int64:
        # As in the server: known filters are cached, and all images are in one space.
        messages = [filter_pb2.Filter(text=str(one)) for one in where]
        found = [self._filters.find_cached(message) or self._filters.find(message) for message in messages]
        masks = QueryMasks.of([self._filters.mask(one.matches, SPACE, RowMask) for one in found])
        return self._searcher.search(prepare(queries, self._entry.metric), k, effort, masks=masks).rows

    def about(self) -> dict[str, Any]:
        return {"version": importlib.metadata.version("lookalike"), "index": self._entry.factory}

    def close(self) -> None:
        pass


make = LookalikeLocal
