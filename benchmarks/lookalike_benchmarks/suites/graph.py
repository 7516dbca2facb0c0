"""Suite graph: the nearest-neighbor graph of all images, ours from files, the others' from an array.

Each row has wall-clock seconds and processor seconds. Other programs on the machine change the former, and hardly the
latter. A peer has the least effort that reaches the recall. With `--set truth=N`, recall is that of N images, and
faiss.knn searches for these alone: its times are multiplied, since its work is the same for each image.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
from lookalike_benchmarks.timing import Taken, timed
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
from lookalike_indexer.vectors.sample import choose_rows

USUAL = {
    "rows": "20000",
    "dim": "2048",
    "k": "16",
    "recall": "95",
    "ways": "exact,default",
    "index": "ivf-sq8",
    "peers": ",".join(GRAPH_PEERS),
    "rounds": "1",
    "sample": "2000",
    "truth": "0",
    "patience": "600",
    "cache": ".cache/peers",
}
QUICK = {"rows": "1500", "dim": "32", "k": "4", "index": "ivf-flat", "peers": "", "rounds": "1"}
_SUITE = "graph"


@dataclass(frozen=True)
class _Made:
    """A graph: ids of the k nearest neighbors of each vector (n, k), and the time that it took."""

    ids: Int64
    taken: Taken


@dataclass(frozen=True)
class _Task:
    """Input of all libraries; `truth` has the ids of the k nearest neighbors of `rows` (m,), of shape (m, k)."""

    options: Options
    vectors: Float32
    rows: Int64
    truth: Int64
    folder: Path
    peak: float
    params: dict[str, Any]

    @property
    def k(self) -> int:
        return int(self.truth.shape[1])

    @property
    def target(self) -> float:
        return self.options.number("recall") / 100

    def recall(self, made: _Made) -> float:
        return _recall(made.ids[self.rows], self.truth)

    def row(self, name: str, made: _Made, note: str = "", **params: Any) -> Row:
        rows, dim = self.vectors.shape
        measured = {
            "seconds": made.taken.seconds,
            "cpu_s": made.taken.cpu_s,
            "neighbors_per_s": rows * self.k / made.taken.seconds,
            f"recall_at_{self.k}": self.recall(made),
            # Operations of comparing every image with every other, even for libraries that avoid this.
            "share_of_matrix_peak": 2.0 * rows * rows * dim / made.taken.seconds / self.peak,
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
    rows = _some(points.vectors, options.text("truth"))
    with tempfile.TemporaryDirectory() as folder:
        exact = [_by_faiss(points.vectors, rows, k) for _ in range(rounds)]
        params = {name: value for name, value in points.params.items() if name != "queries"}
        task = _Task(
            options=options,
            vectors=points.vectors,
            rows=rows,
            truth=exact[0][0],
            folder=Path(folder),
            peak=matrix_peak("float32", "cpu", matrix_size("cpu", settings.quick)),
            params={**params, "k": k, "rounds": rounds, "truth_rows": len(rows), **threads()},
        )
        ids = np.full((len(points.vectors), k), -1, np.int64)
        ids[rows] = task.truth
        found = {"faiss.knn": _Made(ids, _median([taken for _, taken in exact]))}
        some = "" if len(rows) == len(ids) else f", from the time of {len(rows):,} images"
        yield task.row("faiss.knn", found["faiss.knn"], f"of an array in memory{some}", library="faiss")
        for name, made, note in _ours(task, settings.seed):
            found[name] = made
            yield task.row(name, made, note, library="lookalike")
        for name in names:
            for row, result in _peer(task, GRAPH_PEERS[name]):
                if result is not None:
                    found[row.case] = result
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

    asked = task.options.text("ways").split(",")
    ways = [("exact", exactly, "")] if "exact" in asked else []
    if "default" in asked:
        ways.append(("by default", by_default, ""))
    if index:
        ways.append((index, by_index, ", with the index"))
    for name, way, note in ways:
        taken, ids = [], np.empty((0, k), np.int64)
        for _ in range(task.options.number("rounds")):
            # A new collection each time, since a later round would reuse the files of an earlier one.
            root = task.folder / "collection"
            write_collection(str(root), Clustered(rows=rows, dim=dim, seed=seed))
            taken.append(timed(partial(way, Storage(root)))[1])
            ids = np.concatenate([found for _, found, _ in CollectionReader.open(str(root)).stream_graph()])
            shutil.rmtree(root)
        yield f"lookalike {name}", _Made(ids, _median(taken)), f"from Parquet to Parquet{note}"


def _peer(task: _Task, peer: Peer) -> Iterator[tuple[Row, _Made | None]]:
    """Yield the rows of a peer at the least effort that reaches the recall; a failure is a row with the reason."""
    try:
        python = python_of(peer, Path(task.options.text("cache")))
    except NotInstalledError as error:
        yield Row(_SUITE, f"{peer.name}, not installed", task.params, {}, f"cannot be installed here: {error}"), None
        return
    file = task.folder / "vectors.npy"
    np.save(file, task.vectors)
    patience = task.options.seconds("patience")
    try:
        with Contestant(peer.module, python, task.folder, patience=patience, name=peer.name) as engine:
            built = engine.build(file, patience)
            efforts = built["efforts"] if peer.whole else _likely(task, engine, built["efforts"])
            effort, made = _reaching(task, engine, efforts)
            made = _Made(made.ids, made.taken + Taken(built["seconds"], built["cpu_s"]))
            compiled = _Made(made.ids, made.taken + engine.start)
    except EngineError as error:
        yield Row(_SUITE, f"{peer.name}, failed", task.params, {}, str(error)), None
        return
    params = {"library": peer.name, "effort": effort, "recall_target": task.target, **built["about"]}
    yield task.row(peer.name, made, "building and asking", **params), made
    if peer.compiles:
        note = "building and asking, after importing and compiling"
        yield task.row(f"{peer.name} with compiling", compiled, note, **params), compiled


def _likely(task: _Task, engine: Contestant, efforts: list[int]) -> list[int]:
    """Return the efforts without those that miss the recall for a sample of the vectors, or else the last one."""
    places = np.sort(choose_rows(len(task.rows), min(task.options.number("sample"), len(task.rows)), 0))
    rows = task.rows[places]
    first, last = 0, len(efforts) - 1
    while first < last:
        middle = (first + last) // 2
        found = engine.find(task.vectors[rows], task.k + 1, efforts[middle]).ids
        if _recall(_without_own(found, task.k, rows), task.truth[places]) >= task.target:
            last = middle
        else:
            first = middle + 1
    return efforts[first:]


def _reaching(task: _Task, engine: Contestant, efforts: list[int]) -> tuple[int, _Made]:
    """Return the first effort that reaches the recall, or else the last one, and its graph."""
    for effort in efforts:
        found = engine.find(task.vectors, task.k + 1, effort)
        made = _Made(_without_own(found.ids, task.k, np.arange(len(found.ids))), found.taken)
        if task.recall(made) >= task.target:
            break
    return effort, made


def _compared(task: _Task, found: dict[str, _Made]) -> Iterator[Row]:
    """Yield our times over those of each library that reached the recall."""
    ours = {name: made for name, made in found.items() if name.startswith("lookalike ")}
    for other, made in found.items():
        if other in ours or task.recall(made) < task.target:
            continue
        for name, mine in ours.items():
            if task.recall(mine) >= task.target:
                measured = {
                    "time_ratio": mine.taken.seconds / made.taken.seconds,
                    "cpu_ratio": mine.taken.cpu_s / made.taken.cpu_s,
                }
                yield Row(_SUITE, f"{name} over {other}", {**task.params, "recall_target": task.target}, measured, "")


def _recall(ids: Int64, truth: Int64) -> float:
    """Return the share of the true neighbors (n, k) that are among the found ones (n, k)."""
    return float((ids[:, :, None] == truth[:, None, :]).any(2).mean())


def _some(vectors: Float32, truth: str) -> Int64:
    """Return the rows whose neighbors the recall is measured with; all if `truth` is "0"."""
    count = int(truth) if truth.isdecimal() else -1
    if count < 0 or count > len(vectors):
        raise click.BadParameter(f"--set truth={truth} is not a number from 0 to {len(vectors)}.")
    return np.sort(choose_rows(len(vectors), count or len(vectors), 0))


def _by_faiss(vectors: Float32, rows: Int64, k: int) -> tuple[Int64, Taken]:
    """Return the k nearest neighbors of some rows (m, k), and the time that those of all vectors take."""
    asked = vectors if len(rows) == len(vectors) else vectors[rows]
    found, taken = timed(lambda: faiss.knn(asked, vectors, k + 1, metric=faiss.METRIC_INNER_PRODUCT)[1])
    times = len(vectors) / len(rows)
    return _without_own(found, k, rows), Taken(times * taken.seconds, times * taken.cpu_s)


def _without_own(ids: Int64, k: int, own: Int64) -> Int64:
    """Return the first k ids of each row (n, m) that are not its own id, `own` (n,)."""
    order = np.argsort(ids == own[:, None], axis=1, kind="stable")
    kept: Int64 = np.take_along_axis(ids, order, axis=1)[:, :k]
    return kept


def _median(taken: list[Taken]) -> Taken:
    return Taken(statistics.median(each.seconds for each in taken), statistics.median(each.cpu_s for each in taken))
