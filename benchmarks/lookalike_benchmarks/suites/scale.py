"""Suite scale: time and memory against the number of images: write, build, load, start, search, swap, look up."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lookalike_benchmarks import bookkeeping, flat_memory, scaling, timing
from lookalike_benchmarks.cold_start import start_seconds
from lookalike_benchmarks.options import Options, threads
from lookalike_benchmarks.processes import Fresh, in_fresh_process
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.vectors import Clustered

T = TypeVar("T")

# sizes: images of collections; lookups: images in the columns; memory: the two runs of the pipeline to compare;
# bookkeeping: images of collections without content.
USUAL = {
    "sizes": "10000,100000",
    "dim": "2048",
    "index": "auto",
    "searches": "300",
    "rounds": "3",
    "lookups": "10000,100000,1000000",
    "memory": "1000,20000",
    "part_size": "500",
    "bookkeeping": "10000,100000,1000000",
}
QUICK = {
    "sizes": "2000",
    "dim": "32",
    "index": "ivf-flat",
    "searches": "20",
    "rounds": "1",
    "lookups": "3000",
    "memory": "20,40",
    "part_size": "10",
    "bookkeeping": "1500,3000",
}
_NEIGHBORS = 1000


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite scale."""
    options = Options(settings, USUAL, QUICK)
    for rows in options.numbers("sizes"):
        for gpus in settings.gpus:
            with tempfile.TemporaryDirectory() as folder:
                vectors = Clustered(rows=rows, dim=options.number("dim"), seed=settings.seed)
                yield from _collection(Path(folder) / "collection", vectors, gpus, options)
    for images in options.numbers("lookups"):
        yield _lookup(images, options)
    yield from _memory(options)
    yield from _bookkeeping(options)


def _collection(root: Path, vectors: Clustered, gpus: int, options: Options) -> Iterator[Row]:
    where = scaling.placement(gpus)
    params = {**dataclasses.asdict(vectors), "placement": where, "gpus": gpus, "index": options.text("index")}
    params |= {"rounds": options.number("rounds"), **threads()}
    told = f"{vectors.rows:,} images, {where}"

    written = in_fresh_process(scaling.write, str(root), vectors)
    yield Row("scale", f"write {told}", params, {**written.result, **_memory_of(written)})
    built = in_fresh_process(scaling.build, str(root), options.text("index"), range(gpus))
    yield Row("scale", f"build {told}", params, {**built.result, **_memory_of(built)})
    loaded = in_fresh_process(scaling.load, str(root), gpus, options.number("rounds"))
    measured = _against(loaded.result, "load", "read")
    yield Row("scale", f"load over reading the index file, {told}", params, {**measured, **_memory_of(loaded)})
    yield from _starts(root, gpus, options, params, told)
    queries = vectors.queries(options.number("searches"))
    served = in_fresh_process(scaling.serve, str(root), gpus, queries)
    said = {**params, "k": 10, "callers": 1, "nprobe": served.result.pop("nprobe")}
    yield Row(
        "scale",
        f"search and swap {told}",
        said,
        {**served.result, **_memory_of(served)},
        "without gRPC and without a network",
    )


def _starts(root: Path, gpus: int, options: Options, params: Mapping[str, Any], told: str) -> Iterator[Row]:
    for page_cache in ("warm", "dropped"):
        times = start_seconds(root, gpus, options.number("rounds"), cold=page_cache == "dropped")
        measured = _against(times, "serve", "read")
        yield Row(
            "scale",
            f"start over reading the index file, {told}, page cache {page_cache}",
            {**params, "page_cache": page_cache},
            {**measured, "import_seconds": statistics.median(times["import"])},
            "fresh processes: each time has the start of Python and its imports in it",
        )


def _against(times: Mapping[str, list[float]], of: str, over: str) -> dict[str, float]:
    ratio = timing.ratio(times, of, over)
    medians = {f"{name}_seconds": statistics.median(times[name]) for name in (of, over)}
    return {**medians, **{f"ratio_{name}": value for name, value in ratio.items()}}


def _memory_of(fresh: Fresh[T]) -> dict[str, int]:
    return {"base_rss_mib": fresh.base_rss_mib, "peak_rss_mib": fresh.peak_rss_mib}


def _lookup(images: int, options: Options) -> Row:
    neighbors = min(_NEIGHBORS, images)
    rounds = 10 * options.number("rounds")
    found = in_fresh_process(scaling.lookup, images, neighbors, rounds)
    return Row(
        "scale",
        f"look up {neighbors:,} neighbors of {images:,} images",
        {"images": images, "neighbors": neighbors, "rounds": rounds},
        {**found.result, **_memory_of(found)},
    )


def _memory(options: Options) -> Iterator[Row]:
    """Embed fewer and more images, and compare the memory."""
    found: list[dict[str, Any]] = []
    for images in options.numbers("memory"):
        found.append(dataclasses.asdict(flat_memory.peaks(images, options.number("part_size"))))
        said = {"images": images, "model": flat_memory.MODEL, "workers": flat_memory.WORKERS}
        said["part_size"] = options.number("part_size")
        yield Row("scale", f"memory of embedding {images:,} images", said, found[-1])
    if len(found) > 1:
        first, last = found[0], found[-1]
        names = [name.removesuffix("_mib") for name in first if name.endswith("_mib")]
        yield Row(
            "scale",
            "memory of embedding, most images over fewest",
            {"images": options.numbers("memory"), "part_size": options.number("part_size")},
            {f"ratio_{name}": last[f"{name}_mib"] / first[f"{name}_mib"] for name in names},
        )


# Measures that grow with the number of images, by their name in a row.
_GROWING = (
    "relist_seconds",
    "resume_seconds",
    "sync_seconds",
    "join_seconds",
    "encode_seconds",
    "decode_seconds",
    "bytes_to_add_a_part",
)


def _bookkeeping(options: Options) -> Iterator[Row]:
    """Measure the cost of a collection besides computing, at each size, and the exponent of growth of each cost."""
    sizes = options.numbers("bookkeeping")
    found: list[dict[str, Any]] = []
    for images in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root, photos = str(Path(folder) / "collection"), str(Path(folder) / "photos")
            params = {"images": images, "parts": bookkeeping.parts_of(images)}
            made = in_fresh_process(bookkeeping.make, root, photos, images).result
            costs = in_fresh_process(bookkeeping.measure, root, photos).result
        found.append({name: value for cost in costs.values() for name, value in cost.items()})
        yield Row("scale", f"bookkeeping: list {images:,} images again", params, {**costs["relist"], **made})
        yield Row("scale", f"bookkeeping: nothing to embed of {images:,} images", params, costs["resume"])
        yield Row("scale", f"bookkeeping: verify the join of {images:,} images", params, costs["join"])
        yield Row("scale", f"bookkeeping: follow one change among {images:,} images", params, costs["sync"])
        yield Row("scale", f"bookkeeping: the manifest of {images:,} images", params, costs["publish"])
    if len(sizes) > 1:
        growth = {
            f"exponent_{name.removesuffix('_seconds')}": bookkeeping.exponent(sizes, [one[name] for one in found])
            for name in _GROWING
        }
        yield Row(
            "scale",
            "bookkeeping: exponents of growth",
            {"images": sizes},
            growth,
            "1 is in proportion to the number of images, 0 is independent of it",
        )
