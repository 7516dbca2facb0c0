"""Suite search: recall@10 against queries/s in this process, by kind of index, batch size and placement."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lookalike_benchmarks import data
from lookalike_benchmarks.data import Data
from lookalike_benchmarks.options import Options, left_out, threads, torch_devices
from lookalike_benchmarks.peak import Ceiling
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.searching import AT, Built, build_index, efforts, placed, recall, speed
from lookalike_indexer.arrays import Int64
from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_indexer.indexing.recipes import choose
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.vectors.exact import exact_search

USUAL = {
    "rows": "100000",
    "dim": "2048",
    "queries": "500",
    "collection": "",
    "batches": "1,16,64",
    "gpu_batches": "1,16,64,1024",
    "seconds": "0.4",
    "indexes": "flat;flat-fp16;ivf-flat;ivf-fp16;ivf-sq8;ivf-pq;HNSW32,SQ8;ivf-rabitq;ivf-pqfs",
}
QUICK = {"rows": "3000", "dim": "64", "queries": "64", "seconds": "0.01"}
_LEVELS = (0.90, 0.95, 0.99)
# Stop at this recall, or when more effort gains less than this: the rest is lost in the codes.
_ENOUGH, _LEAST_GAIN = 0.998, 0.001


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite search."""
    options = Options(settings, USUAL, QUICK)
    points = _points(options, settings.seed)
    truth = _truth(points)
    ceilings = _ceilings(settings)
    measured: list[Row] = []
    for name in options.texts("indexes"):
        for gpus in settings.gpus:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    built = build_index(_factory(name, points), points, settings.seed, range(gpus), Path(folder))
                except UsageError as error:
                    left_out(name, str(error).rstrip("."))
                    continue
                for row in _searched(built, points, truth, options, gpus):
                    measured.append(row)
                    yield row
    yield from _under_ceilings(measured, ceilings)
    yield from _best(measured)
    yield from _gpus_over_cpu(measured)


def _points(options: Options, seed: int) -> Data:
    queries = options.number("queries")
    if options.text("collection"):
        return data.stored(options.text("collection"), queries, seed)
    return data.synthetic(options.number("rows"), options.number("dim"), queries, seed)


def _truth(points: Data) -> Int64:
    rows = len(points.vectors)
    blocks = ((np.arange(at, min(at + 4096, rows)), points.vectors[at : at + 4096]) for at in range(0, rows, 4096))
    return exact_search(blocks, points.queries, AT, "cosine")[0]


def _factory(name: str, points: Data) -> str:
    """Return a name of a recipe or a faiss factory string, with as many lists as the recipes would choose."""
    rows, dim = points.vectors.shape
    lists = choose(rows, dim, BuildSettings(index="ivf-sq8")).factory.split(",")[0].removeprefix("IVF")
    return name.replace("{nlist}", lists)


def _searched(built: Built, points: Data, truth: Int64, options: Options, gpus: int) -> Iterator[Row]:
    try:
        ways = list(placed(built, gpus))
    except DeviceError as error:
        left_out(f"{built.name} on {gpus} GPUs", str(error).rstrip("."))
        return
    for way, searchers in ways:
        found: list[float] = []
        for effort in efforts(built.index):
            effort.apply(built.index)
            found.append(recall(searchers[0], points.queries, truth, effort.nprobe))
            for batch in options.numbers("gpu_batches" if gpus else "batches"):
                reached = speed(searchers, points.queries, batch, effort.nprobe, options.seconds("seconds"))
                yield Row(
                    "search",
                    " ".join(
                        filter(
                            None,
                            [f"{built.name}, {way}{f' {gpus}' if gpus > 1 else ''}:", str(effort), f"batch {batch}"],
                        )
                    ),
                    {**points.params, "index": built.name, "factory": built.factory, "metric": "cosine", "k": AT}
                    | {"placement": way, "gpus": gpus, "batch": batch, "nprobe": effort.nprobe}
                    | {**dict(effort.fields), **threads()},
                    {
                        "recall_at_10": found[-1],
                        "queries_per_s": reached.queries_per_s,
                        "p50_ms": reached.p50_ms,
                        "train_seconds": built.train_seconds,
                        "fill_seconds": built.fill_seconds,
                        "index_mib": built.mib,
                    },
                )
            if found[-1] >= _ENOUGH or _stalled(found):
                break
        for searcher in searchers:
            searcher.close()


def _stalled(found: list[float]) -> bool:
    """Return True after two steps without a gain."""
    return len(found) > 2 and max(found[-2:]) < max(found[:-2]) + _LEAST_GAIN


def _ceilings(settings: Settings) -> dict[tuple[int, str], Ceiling]:
    """Return ceilings by number of GPUs and factory of a flat index. A processor has no float16 matrix product."""
    found = {}
    for gpus in settings.gpus:
        if gpus < 2:
            found[gpus, "Flat"] = Ceiling.of("float32", torch_devices(gpus)[0], settings.quick)
        if gpus == 1:
            found[gpus, "SQfp16"] = Ceiling.of("float16", torch_devices(gpus)[0], settings.quick)
    return found


def _under_ceilings(rows: list[Row], ceilings: Mapping[tuple[int, str], Ceiling]) -> Iterator[Row]:
    """Compare exact search with the limits of its device's memory and matrix units."""
    for row in rows:
        ceiling = ceilings.get((row.params["gpus"], row.params["factory"]))
        if ceiling is not None:
            least = ceiling.least_seconds(row.params["rows"], row.params["dim"], row.params["batch"])
            where = f"{row.params['gpus']} GPU" if row.params["gpus"] else "cpu"
            yield Row(
                "search",
                f"{row.params['index']} over its ceiling, batch {row.params['batch']}, {where}",
                {**row.params, "dtype": ceiling.compute},
                {
                    "share_of_ceiling": 1000 * least / row.measured["p50_ms"],
                    "memory_gb_per_s": ceiling.bytes_per_s / 1e9,
                    "matrix_tflop_per_s": ceiling.flop_per_s / 1e12,
                },
            )


def _best(rows: list[Row]) -> Iterator[Row]:
    """Yield the fastest row that reaches each recall, by batch size, number of GPUs and placement."""
    for (gpus, way, batch), here in _by_place(rows).items():
        for level in _LEVELS:
            best = _fastest(here, level)
            if best is not None:
                where = f"{way} {gpus}" if gpus > 1 else way
                yield Row(
                    "search",
                    f"fastest at recall {level:.2f}, {where}, batch {batch}",
                    {**best.params, "recall_at_least": level},
                    {name: best.measured[name] for name in ("queries_per_s", "recall_at_10", "index_mib")},
                    best.case,
                )


def _gpus_over_cpu(rows: list[Row]) -> Iterator[Row]:
    """Compare inverted lists on GPUs with the fastest ones on the processor, at equal recall and batch size."""
    places = _by_place([row for row in rows if row.params["nprobe"]])
    for (gpus, way, batch), here in places.items():
        there = _fastest(places.get((0, "cpu", batch), []), 0.95)
        best = _fastest(here, 0.95)
        if gpus and best is not None and there is not None:
            yield Row(
                "search",
                f"{gpus} GPU {way} over CPU at recall 0.95, batch {batch}",
                {**best.params, "recall_at_least": 0.95},
                {"ratio_median": best.measured["queries_per_s"] / there.measured["queries_per_s"]},
                f"{best.case} over {there.case}",
            )


def _by_place(rows: list[Row]) -> dict[tuple[int, str, int], list[Row]]:
    """Group rows by number of GPUs, placement and batch size."""
    places: dict[tuple[int, str, int], list[Row]] = {}
    for row in rows:
        places.setdefault((row.params["gpus"], row.params["placement"], row.params["batch"]), []).append(row)
    return dict(sorted(places.items()))


def _fastest(rows: list[Row], level: float) -> Row | None:
    reaching = [row for row in rows if row.measured["recall_at_10"] >= level]
    return max(reaching, key=lambda row: float(row.measured["queries_per_s"]), default=None)
