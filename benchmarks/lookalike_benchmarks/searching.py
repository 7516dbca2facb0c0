"""Indexes, their search settings that trade recall for speed, and their speed on placed devices."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from lookalike_benchmarks.data import Data
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.files import write_index
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.products import multiply_from_few
from lookalike_indexer.indexing.recipes import choose
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.sample import choose_rows
from lookalike_server.common.placement_mode import PlacementMode
from lookalike_server.placement.build_searchers import build_searchers, choose_devices
from lookalike_server.placement.searcher import Searcher

AT = 10
_NPROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_EF_SEARCH = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Built:
    """An index and its file, with the seconds of training and of filling, and the file's size in MiB."""

    name: str
    factory: str
    index: faiss.Index
    path: Path
    train_seconds: float
    fill_seconds: float
    mib: float


@dataclass(frozen=True)
class Effort:
    """Search effort of an index: `nprobe` is passed with the call (0: no lists); `fields` are set on the index."""

    nprobe: int = 0
    fields: tuple[tuple[str, int], ...] = ()

    def apply(self, index: faiss.Index) -> None:
        for name, value in self.fields:
            faiss.ParameterSpace().set_index_parameter(index, name, value)

    def __str__(self) -> str:
        said = [f"nprobe {self.nprobe}"] if self.nprobe else []
        return " ".join([*said, *(f"{name} {value}" for name, value in self.fields)])


@dataclass(frozen=True)
class Speed:
    """Queries/s over all devices, and the median milliseconds of a call."""

    queries_per_s: float
    p50_ms: float


def build_index(name: str, data: Data, seed: int, gpus: Sequence[int], folder: Path) -> Built:
    """Build an index as the stage does, from vectors in memory. UsageError: faiss cannot build it."""
    settings = BuildSettings(index=name, seed=seed, gpus=tuple(gpus))
    rows, dim = data.vectors.shape
    recipe = choose(rows, dim, settings)
    index = build.empty_index(recipe.factory, dim, settings.metric, seed)
    began = time.perf_counter()
    if recipe.train_size:
        sample = data.vectors[np.sort(choose_rows(rows, recipe.train_size, seed))]
        build.train(index, sample, recipe.factory, gpus, Silent())
    trained = time.perf_counter()
    for start in range(0, rows, 4096):
        index.add(data.vectors[start : start + 4096])
    filled = time.perf_counter()
    write_index(Storage(folder), "index.faiss", index)
    path = folder / "index.faiss"
    return Built(name, recipe.factory, index, path, trained - began, filled - trained, path.stat().st_size / 2**20)


def efforts(index: faiss.Index) -> list[Effort]:
    """Return the efforts from fast to thorough; a single one for an index without a choice.

    How many hits a refined index compares again is fixed when it is built, so it is no effort.
    """
    traits = describe(index)
    if traits.kind == "graph":
        return [Effort(fields=(("efSearch", value),)) for value in _EF_SEARCH]
    return [Effort(nprobe) for nprobe in _NPROBES if nprobe <= traits.nlist] or [Effort()]


def placed(built: Built, gpus: int) -> Iterator[tuple[PlacementMode, list[Searcher]]]:
    """Yield the placements of an index on the processor (0) or on `gpus` GPUs. DeviceError: it cannot be placed."""
    # As the server does for its threads.
    multiply_from_few(int(built.index.d), faiss.omp_get_max_threads())
    ways: dict[int, tuple[PlacementMode, ...]] = {0: ("cpu",), 1: ("gpu",)}
    for way in ways.get(gpus, ("shard", "replicate")):
        devices = choose_devices(way, ",".join(map(str, range(gpus))), gpus)
        yield way, build_searchers(built.index, built.path, "cosine", way, devices)


def recall(searcher: Searcher, queries: Float32, truth: Int64, nprobe: int) -> float:
    """Return recall@10 over all queries."""
    found = [searcher.search(queries[start : start + 64], AT, nprobe)[0] for start in range(0, len(queries), 64)]
    rows = np.concatenate(found)
    return float((rows[:, :, None] == truth[:, None, :]).any(axis=2).mean())


def speed(searchers: Sequence[Searcher], queries: Float32, batch: int, nprobe: int, at_least_s: float) -> Speed:
    """Search batch after batch, each searcher in a thread of its own, for `at_least_s` and at least three calls."""
    if len(queries) < batch:
        queries = np.resize(queries, (batch, queries.shape[1]))
    with ThreadPoolExecutor(len(searchers)) as threads:
        runs = [threads.submit(_timed, searcher, queries, batch, nprobe, at_least_s) for searcher in searchers]
        times = [run.result() for run in runs]
    rate = sum(batch * len(each) / sum(each) for each in times)
    return Speed(rate, 1000 * statistics.median(seconds for each in times for seconds in each))


def _timed(searcher: Searcher, queries: Float32, batch: int, nprobe: int, at_least_s: float) -> list[float]:
    starts = range(0, max(1, len(queries) - batch + 1), batch)
    searcher.search(queries[:batch], AT, nprobe)
    times: list[float] = []
    while len(times) < 3 or sum(times) < at_least_s:
        start = starts[len(times) % len(starts)]
        began = time.perf_counter()
        searcher.search(queries[start : start + batch], AT, nprobe)
        times.append(time.perf_counter() - began)
    return times
