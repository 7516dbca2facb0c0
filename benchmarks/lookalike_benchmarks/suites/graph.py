"""Suite graph: the nearest-neighbor graph of all images, ours from files, the others' from an array."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np

from lookalike_benchmarks import data
from lookalike_benchmarks.contestant import Contestant, EngineError
from lookalike_benchmarks.engines.catalog import GRAPH_PEERS, Peer
from lookalike_benchmarks.environments import NotInstalledError, python_of
from lookalike_benchmarks.options import Options, threads
from lookalike_benchmarks.peak import matrix_peak, matrix_size
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.graph.graph_stage import run_graph
from lookalike_indexer.graph.settings import GraphSettings
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent

USUAL = {
    "rows": "20000",
    "dim": "2048",
    "k": "16",
    "recall": "95",
    "index": "ivf-sq8",
    "peers": ",".join(GRAPH_PEERS),
    "rounds": "1",
    "patience": "600",
    "cache": ".cache/peers",
}
QUICK = {"rows": "1500", "dim": "32", "k": "4", "index": "ivf-flat", "peers": "", "rounds": "1"}
_SUITE = "graph"


@dataclass(frozen=True)
class _Made:
    """A graph: ids of the k nearest neighbors of each vector (n, k), and its build time in seconds."""

    ids: Int64
    seconds: float


@dataclass(frozen=True)
class _Task:
    """Input of all libraries; `truth` has the ids of the k nearest neighbors (n, k)."""

    options: Options
    vectors: Float32
    truth: Int64
    folder: Path
    peak: float
    params: dict[str, Any]

    @property
    def k(self) -> int:
        return int(self.truth.shape[1])

    def recall(self, ids: Int64) -> float:
        hits = (ids[:, :, None] == self.truth[:, None, :]).any(2)
        return float(hits.mean())

    def row(self, name: str, made: _Made, note: str = "", **params: Any) -> Row:
        rows, dim = self.vectors.shape
        measured = {
            "seconds": made.seconds,
            "neighbors_per_s": rows * self.k / made.seconds,
            f"recall_at_{self.k}": self.recall(made.ids),
            # Operations of comparing every image with every other, even for libraries that avoid this.
            "share_of_matrix_peak": 2.0 * rows * rows * dim / made.seconds / self.peak,
        }
        return Row(_SUITE, name, {**self.params, **params}, measured, note)


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite graph."""
    options = Options(settings, USUAL, QUICK)
    names = [name for name in options.text("peers").split(",") if name]
    unknown = [name for name in names if name not in GRAPH_PEERS]
    if unknown:
        raise click.BadParameter(f"--set peers={unknown[0]}: there are {', '.join(GRAPH_PEERS)}.")
    points = data.synthetic(options.number("rows"), options.number("dim"), 1, settings.seed)
    k, rounds = options.number("k"), options.number("rounds")
    with tempfile.TemporaryDirectory() as folder:
        exact = [_by_faiss(points.vectors, k) for _ in range(rounds)]
        params = {name: value for name, value in points.params.items() if name != "queries"}
        task = _Task(
            options=options,
            vectors=points.vectors,
            truth=exact[0].ids,
            folder=Path(folder),
            peak=matrix_peak("float32", "cpu", matrix_size("cpu", settings.quick)),
            params={**params, "k": k, "rounds": rounds, **threads()},
        )
        found = {"faiss.knn": _median(exact)}
        yield task.row("faiss.knn", found["faiss.knn"], "of an array in memory", library="faiss")
        for name, made, note in _ours(task, settings.seed):
            found[name] = made
            yield task.row(name, made, note, library="lookalike")
        for name in names:
            row, result = _peer(task, GRAPH_PEERS[name])
            if result is not None:
                found[name] = result
            yield row
    yield from _compared(task, found)


def _ours(task: _Task, seed: int) -> Iterator[tuple[str, _Made, str]]:
    rows, dim = task.vectors.shape
    k, index = task.k, task.options.text("index")

    def exactly(storage: Storage) -> None:
        draft, _ = run_graph(storage, generations.require_latest(storage), GraphSettings(k=k, exact=True), Silent())
        generations.publish(storage, draft)

    def by_default(storage: Storage) -> None:
        draft, _ = run_graph(storage, generations.require_latest(storage), GraphSettings(k=k), Silent())
        generations.publish(storage, draft)

    def by_index(storage: Storage) -> None:
        draft = generations.require_latest(storage)
        draft, report = run_build(storage, draft, BuildSettings(index=index), Silent())
        draft, _ = run_graph(storage, draft, GraphSettings(k=k, index=report.entry.name), Silent())
        generations.publish(storage, draft)

    ways = [("exact", exactly, ""), ("by default", by_default, "")]
    if index:
        ways.append((index, by_index, ", with the index"))
    for name, way, note in ways:
        times, ids = [], task.truth[:0]
        for _ in range(task.options.number("rounds")):
            # A new collection each time, since a later round would reuse the files of an earlier one.
            root = task.folder / "collection"
            write_collection(str(root), Clustered(rows=rows, dim=dim, seed=seed))
            began = time.perf_counter()
            way(Storage(root))
            times.append(time.perf_counter() - began)
            ids = np.concatenate([found for _, found, _ in CollectionReader.open(str(root)).stream_graph()])
            shutil.rmtree(root)
        yield f"lookalike {name}", _Made(ids, statistics.median(times)), f"from Parquet to Parquet{note}"


def _peer(task: _Task, peer: Peer) -> tuple[Row, _Made | None]:
    """Return the row of a peer at the lowest effort that reaches the recall; a failure is a row with the reason."""
    target = task.options.number("recall") / 100
    try:
        python = python_of(peer, Path(task.options.text("cache")))
    except NotInstalledError as error:
        return Row(_SUITE, f"{peer.name}, not installed", task.params, {}, f"cannot be installed here: {error}"), None
    file = task.folder / "vectors.npy"
    np.save(file, task.vectors)
    try:
        with Contestant(
            peer.module, python, task.folder, patience=task.options.seconds("patience"), name=peer.name
        ) as engine:
            built = engine.build(file, task.options.seconds("patience"))
            best = None
            for effort in built["efforts"]:
                began = time.perf_counter()
                found = _without_own(engine.find(task.vectors, task.k + 1, effort), task.k)
                best = _Made(found, built["seconds"] + time.perf_counter() - began), effort
                if task.recall(found) >= target:
                    break
    except EngineError as error:
        return Row(_SUITE, f"{peer.name}, failed", task.params, {}, str(error)), None
    assert best is not None
    params = {"library": peer.name, "effort": best[1], "recall_target": target, **built["about"]}
    return task.row(peer.name, best[0], "building and asking", **params), best[0]


def _compared(task: _Task, found: dict[str, _Made]) -> Iterator[Row]:
    """Yield our times over those of each library that reached the recall."""
    target = task.options.number("recall") / 100
    ours = {name: made for name, made in found.items() if name.startswith("lookalike ")}
    for other, made in found.items():
        if other in ours or task.recall(made.ids) < target:
            continue
        for name, mine in ours.items():
            if task.recall(mine.ids) >= target:
                measured = {"time_ratio": mine.seconds / made.seconds}
                yield Row(_SUITE, f"{name} over {other}", {**task.params, "recall_target": target}, measured, "")


def _by_faiss(vectors: Float32, k: int) -> _Made:
    began = time.perf_counter()
    _, ids = faiss.knn(vectors, vectors, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    return _Made(_without_own(ids, k), time.perf_counter() - began)


def _without_own(ids: Int64, k: int) -> Int64:
    """Return the first k ids of each row (n, m) that are not the row itself."""
    own = ids == np.arange(len(ids))[:, None]
    order = np.argsort(own, axis=1, kind="stable")
    kept: Int64 = np.take_along_axis(ids, order, axis=1)[:, :k]
    return kept


def _median(made: list[_Made]) -> _Made:
    return _Made(made[0].ids, statistics.median(each.seconds for each in made))
