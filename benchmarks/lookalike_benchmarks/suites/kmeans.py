"""Suite kmeans: k-means against faiss and scikit-learn from one start, and the cost of reading Parquet parts."""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike_benchmarks import data, in_memory, timing
from lookalike_benchmarks.options import Options, left_out, threads, torch_devices
from lookalike_benchmarks.peak import matrix_peak, matrix_size
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.trainers import Task, Trained, has_sklearn, inertia, trainers
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.models.compute import Compute
from lookalike_indexer.progress import Silent

USUAL = {
    "rows": "50000",
    "dim": "2048",
    "k": "256",
    "iterations": "20",
    "rounds": "3",
    "stream_rows": "50000",
    "stream_index": "ivf-fp16",
}
QUICK = {
    "rows": "2000",
    "dim": "64",
    "k": "8",
    "iterations": "5",
    "rounds": "2",
    "stream_rows": "3000",
    "stream_index": "ivf-flat",
}


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite kmeans."""
    options = Options(settings, USUAL, QUICK)
    if not has_sklearn():
        left_out("scikit-learn", "it is not installed")
    points = data.synthetic(options.number("rows"), options.number("dim"), 1, settings.seed)
    for gpus in settings.gpus:
        device = torch_devices(gpus)[0]
        # The suite embed measures bfloat16 on the processor.
        kinds: tuple[Compute, ...] = ("float32", "bfloat16") if gpus else ("float32",)
        peaks = {kind: matrix_peak(kind, device, matrix_size(device, settings.quick)) for kind in kinds}
        for k in options.numbers("k"):
            params = {**points.params, "k": k, "start": "Lookalike's, the same for all", "gpus": gpus, **threads()}
            task = Task.started(points.vectors, k, options.number("iterations"), settings.seed)
            yield from _compared(task, gpus, options.number("rounds"), peaks, params)
    del points
    for gpus in settings.gpus:
        yield from _streamed(options, settings.seed, gpus)


def _compared(
    task: Task, gpus: int, rounds: int, peaks: Mapping[Compute, float], params: Mapping[str, Any]
) -> Iterator[Row]:
    found: dict[str, Trained] = {}
    there = trainers(range(gpus))

    def call(name: str, wanted: Task) -> Callable[[], None]:
        return lambda: found.update({name: there[name](wanted)})

    # A small task first, so that threads are started and libraries loaded.
    small = Task.started(task.vectors[: 40 * task.k], task.k, 1, task.seed)
    timing.alternating({name: call(name, small) for name in there}, rounds=0)
    times = timing.alternating({name: call(name, task) for name in there}, rounds, warm=0)
    operations = 2.0 * len(task.vectors) * task.k * task.vectors.shape[1]
    reached = {name: inertia(task.vectors, trained.centroids) for name, trained in found.items()}
    for name, trained in found.items():
        seconds = statistics.median(times[name])
        each = seconds / trained.assignments
        yield Row(
            "kmeans",
            f"{name} k {task.k}{_on(gpus)}",
            {**params, "library": name, "iterations": trained.iterations, "assignments": trained.assignments}
            | {"rounds": rounds}
            | {f"{kind}_matrix_peak_tflop_per_s": peak / 1e12 for kind, peak in peaks.items()},
            {
                "seconds": seconds,
                "seconds_per_assignment": each,
                "inertia": reached[name],
                "inertia_over_faiss": reached[name] / reached["faiss.Kmeans"],
            }
            | {f"share_of_{kind}_matrix_peak": operations / each / peak for kind, peak in peaks.items()},
            "an assignment with its update; the iterations are passes over the data" if "Mini" in name else "",
        )
    for other in list(there)[1:]:
        speedup = timing.ratio(times, other, "lookalike")
        share = found["lookalike"].assignments / found[other].assignments
        yield Row(
            "kmeans",
            f"lookalike over {other} k {task.k}{_on(gpus)}",
            {**params, "iterations": task.iterations, "rounds": rounds},
            {
                "speedup": speedup["median"],
                "speedup_min": speedup["min"],
                "speedup_max": speedup["max"],
                "speedup_per_assignment": speedup["median"] * share,
                "inertia_ratio": reached["lookalike"] / reached[other],
            },
            "seconds of the whole training; scikit-learn's has one more assignment, for its labels"
            if "scikit" in other
            else "",
        )


@dataclass(frozen=True)
class _Work:
    """One kind of work, over parts and over an array; each call takes the number of its round."""

    name: str
    parts: Callable[[int], object]
    array: Callable[[int], object]
    params: Mapping[str, Any]


def _streamed(options: Options, seed: int, gpus: int) -> Iterator[Row]:
    vectors = Clustered(rows=options.number("stream_rows"), dim=options.number("dim"), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "collection"
        write_collection(str(root), vectors)
        storage = Storage(root)
        draft = generations.require_latest(storage)
        array = in_memory.ArrayReader(Storage(Path(folder) / "array"), draft, vectors.all())
        k, numbers = options.numbers("k")[0], tuple(range(gpus))
        index, iterations = options.text("stream_index"), options.number("iterations")

        def cluster(seed: int) -> ClusterSettings:
            return ClusterSettings(clusters=k, iterations=iterations, restarts=1, seed=seed, gpus=numbers)

        def build(seed: int) -> BuildSettings:
            return BuildSettings(index=index, seed=seed, gpus=numbers)

        works = [
            _Work(
                "cluster",
                lambda seed: run_cluster(storage, draft, cluster(seed), Silent()),
                lambda seed: in_memory.cluster(array, k, cluster(seed)),
                {"k": k, "iterations": iterations},
            ),
            _Work(
                "build",
                lambda seed: storage.local(run_build(storage, draft, build(seed), Silent())[1].entry.path).unlink(),
                lambda seed: in_memory.build_index(array, build(seed)),
                {"index": index},
            ),
        ]
        for work in works:
            times = _alternated(work, options.number("rounds"), seed)
            over = timing.ratio(times, "parts", "array")
            yield Row(
                "kmeans",
                f"{work.name} over Parquet parts{_on(gpus)}",
                {"rows": vectors.rows, "dim": vectors.dim, **work.params, "rounds": options.number("rounds")}
                | {"page_cache": "warm", "gpus": gpus, **threads()},
                {
                    "parts_seconds": statistics.median(times["parts"]),
                    "array_seconds": statistics.median(times["array"]),
                    "ratio_median": over["median"],
                    "ratio_min": over["min"],
                    "ratio_max": over["max"],
                },
                "the parts' time includes writing and digesting what the stage keeps",
            )


def _alternated(work: _Work, rounds: int, seed: int) -> dict[str, list[float]]:
    # A new seed for every round, since the stage would reuse its files of an earlier round.
    parts, array = itertools.count(seed), itertools.count(seed)
    calls = {"parts": lambda: work.parts(next(parts)), "array": lambda: work.array(next(array))}
    return timing.alternating(calls, rounds, warm=0)


def _on(gpus: int) -> str:
    return f", {gpus} GPU{'s' if gpus > 1 else ''}" if gpus else ""
