"""Measurements of the suite scale at one size, each in a process of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import faiss
import numpy as np
import pyarrow as pa

from lookalike_benchmarks import timing
from lookalike_benchmarks.synthetic import PART_ROWS, SPACE, images_table, write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.embedding.query_text import Text
from lookalike_indexer.images.image_box import Boxed
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_server.columns.columns import NEEDED, Columns
from lookalike_server.common.limits import Limits
from lookalike_server.common.placement_mode import PlacementMode
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.generation.current import Current
from lookalike_server.generation.loader import Loader
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.placement.build_searchers import choose_devices
from lookalike_server.processes.embedding import Embedder, EmbedQueue
from lookalike_server.query.reload import Reloader
from lookalike_server.search.effort import Effort

if TYPE_CHECKING:
    from lookalike_server.search.engine import Engine

Measured = dict[str, Any]
_K = 10


def write(root: str, vectors: Clustered) -> Measured:
    """Stream a collection to disk, as embedding does besides computing."""
    written = write_collection(root, vectors)
    return {
        "write_seconds": written.write_seconds,
        "images_per_s": vectors.rows / written.write_seconds,
        "mib_per_s": written.bytes / written.write_seconds / 2**20,
        "publish_seconds": written.publish_seconds,
    }


def build(root: str, index: str, gpus: Sequence[int]) -> Measured:
    """Build the index and publish it."""
    storage = Storage(root)
    began = time.perf_counter()
    settings = BuildSettings(index=index, gpus=tuple(gpus))
    draft, report = run_build(storage, generations.require_latest(storage), settings, Silent())
    built = time.perf_counter()
    generations.publish(storage, draft)
    recall = {} if report.recall is None else {"recall_at_10": report.recall}
    return {
        "build_seconds": built - began,
        "publish_seconds": time.perf_counter() - built,
        "index_mib": report.bytes / 2**20,
        **recall,
    }


def load(root: str, gpus: int, rounds: int) -> dict[str, list[float]]:
    """Measure the seconds of loading a generation as the server does, and of reading only its index file, in turn."""
    reader, loader = CollectionReader.open(root), _loader(gpus)
    path = str(reader.storage.local(reader.index().path))
    calls = {"load": lambda: loader.load(reader).close(), "read": lambda: faiss.read_index(path)}
    return timing.alternating(calls, rounds)


def serve(root: str, gpus: int, queries: Float32) -> Measured:
    """Measure searches one by one as in a server, alone and while the next generation is loaded and swapped in."""
    return asyncio.run(_serve(root, gpus, queries))


async def _serve(root: str, gpus: int, queries: Float32) -> Measured:
    limits, loader = Limits(), _loader(gpus)
    current = Current(loader.load(CollectionReader.open(root)))
    embed_queue = EmbedQueue(_open_none, limits)
    reloader = Reloader(root, loader, current, embed_queue, interval=1.0)
    try:
        await _searched(current.snapshot, queries[0], limits)  # warm: threads started
        alone = [await _searched(current.snapshot, query, limits) for query in queries]
        plan = current.snapshot.space().planner.plan(Effort(), limits)
        _publish_another(root)
        began = time.perf_counter()
        following = asyncio.create_task(reloader.follow())
        meanwhile: list[float] = []
        while not following.done():
            with current.lease() as snapshot:
                meanwhile.append(await _searched(snapshot, queries[len(meanwhile) % len(queries)], limits))
        swapped = time.perf_counter() - began
        generation = current.snapshot.generation
    finally:
        current.close()
        embed_queue.close()
    return {
        "nprobe": plan.nprobe,
        "served_generation": generation,
        "p50_ms": 1000 * statistics.median(alone),
        "p99_ms": 1000 * float(np.quantile(alone, 0.99)),
        "swap_seconds": swapped,
        "p50_ms_meanwhile": 1000 * statistics.median(meanwhile),
        "longest_ms_meanwhile": 1000 * max(meanwhile),
        "searches_meanwhile": len(meanwhile),
    }


def lookup(rows: int, neighbors: int, rounds: int) -> Measured:
    """Measure lookups from ids to keys, labels and URIs, and from keys to rows, with columns in memory."""
    starts = range(0, rows, PART_ROWS)
    table = pa.concat_tables(images_table(start, min(PART_ROWS, rows - start)) for start in starts)
    began = time.perf_counter()
    columns = Columns(table.select(NEEDED), SPACE)
    loaded = time.perf_counter() - began
    generator = np.random.default_rng(0)
    told, found = [], []
    for _ in range(rounds):
        ids = generator.choice(rows, neighbors, replace=False)
        began = time.perf_counter()
        there = columns.rows_of_ids(ids)
        keys, _, _ = columns.keys(there), columns.labels(there), columns.uris(there)
        told.append(time.perf_counter() - began)
        began = time.perf_counter()
        columns.rows_of_keys(keys)
        found.append(time.perf_counter() - began)
    return {
        "ids_to_key_label_uri_ms": 1000 * statistics.median(told),
        "ids_to_key_label_uri_p99_ms": 1000 * float(np.quantile(told, 0.99)),
        "keys_to_rows_ms": 1000 * statistics.median(found),
        "load_seconds": loaded,
    }


def placement(gpus: int) -> PlacementMode:
    """Return the placement of an index for a number of GPUs."""
    if gpus > 1:
        return "shard"
    return "gpu" if gpus else "cpu"


def _loader(gpus: int) -> Loader:
    where = placement(gpus)
    devices = choose_devices(where, ",".join(map(str, range(gpus))), gpus)
    return Loader(where, devices, Limits(), ThreadBudget.detect())


async def _searched(snapshot: Snapshot, query: Float32, limits: Limits) -> float:
    space = snapshot.space()
    engine = cast("Engine", space.engine)
    began = time.perf_counter()
    await asyncio.to_thread(engine.search, query[None], _K, space.planner.plan(Effort(), limits))
    return time.perf_counter() - began


def _publish_another(root: str) -> None:
    """Publish a generation that differs in one word; the server nevertheless reloads all of it."""
    storage = Storage(root)
    draft = generations.require_latest(storage)
    model = dataclasses.replace(draft.models[SPACE], compute="bfloat16")
    generations.publish(storage, dataclasses.replace(draft, models={SPACE: model}))


class _NoNetwork:
    """Stand-in for the space's network: no image is sent here, and opening a network would add to the swap time."""

    def __init__(self, fingerprint: str, dim: int) -> None:
        self.fingerprint = fingerprint
        self._dim = dim

    @property
    def alive(self) -> bool:
        return True

    @property
    def hung(self) -> bool:
        return False

    def embed(self, files: Sequence[bytes | Boxed | Text]) -> EmbeddingResult:
        return EmbeddingResult(np.empty((len(files), self._dim), np.float32))

    def close(self) -> None:
        pass


def _open_none(reader: CollectionReader, space: str) -> Embedder:
    entry = reader.manifest.spaces[space]
    return _NoNetwork(entry.fingerprint, entry.dim)
