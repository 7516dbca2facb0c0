"""Suite live: changes of a served collection: their rate, their latency, and their effect on searches."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

import lookalike
from lookalike_benchmarks.folding import figures, folds, settle
from lookalike_benchmarks.options import Options
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.serving import Running, serving
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent

USUAL = {
    "rows": "100000",
    "dim": "2048",
    "live": "20000",
    "indexes": "ivf-sq8;hnsw",
    "clients": "64",
    "batches": "1,16,64",
    "seconds": "10",
    "single": "200",
    "queries": "300",
    "settle": "30",
    "parts": "searches,single,rate,folds",
    "fold": "10000",
    "cycles": "20",
}
QUICK = {
    "rows": "1000", "dim": "16", "live": "200", "indexes": "flat", "clients": "4", "batches": "1,4", "seconds": "0.3",
    "single": "10", "queries": "10", "settle": "0",
    "fold": "50", "cycles": "2",
}  # fmt: skip
_MANY = 10_000_000
# Rows of a block of `Clustered`, and of one call.
_BLOCK, _TOGETHER = 4096, 256


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite live."""
    options = Options(settings, USUAL, QUICK)
    made = Clustered(rows=options.number("rows"), dim=options.number("dim"), seed=settings.seed)
    for index in options.texts("indexes"):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "collection"
            _write(root, made, index)
            # Limits so high that no fold starts by itself.
            never = [f"--fold-rows={_MANY}", f"--max-live-rows={_MANY}", f"--fold-bytes={1 << 40}"]
            parts = options.text("parts").split(",")
            if set(parts) - {"folds"}:
                with serving(root, "--writable", *never) as running:
                    yield from _measured(running, root, options, index, made, parts)
            if "folds" in parts:
                # With a collection of its own, without the vectors added before.
                again = Path(folder) / "again"
                _write(again, made, index)
                with serving(again, "--writable", *never) as running:
                    yield _folded(running, options, index, made)


def _write(root: Path, made: Clustered, index: str) -> None:
    write_collection(str(root), made)
    storage = Storage(root)
    draft, _ = run_build(storage, generations.require_latest(storage), BuildSettings(index=index), Silent())
    generations.publish(storage, draft)


def _folded(running: Running, options: Options, index: str, made: Clustered) -> Row:
    each, cycles = options.number("fold"), options.number("cycles")
    done = list(folds(running, _blocks(made, each, cycles), made.queries(256)))
    params = {"index": index, "rows": made.rows, "dim": made.dim, "fold": each, "cycles": cycles}
    return Row("live", f"{index}, {cycles} folds of {each:,} images each", params, figures(done))


def _blocks(made: Clustered, each: int, count: int) -> Iterator[Float32]:
    """Yield blocks of vectors of the same mixture that the collection does not have."""
    more = dataclasses.replace(made, rows=made.rows + each * count + 2 * _BLOCK)
    held = np.empty((0, made.dim), np.float32)
    for block in more.blocks(-(-made.rows // _BLOCK)):
        held = np.concatenate([held, block])
        while len(held) >= each and count:
            yield held[:each]
            held, count = held[each:], count - 1


def _measured(
    running: Running, root: Path, options: Options, index: str, made: Clustered, parts: Collection[str]
) -> Iterator[Row]:
    address, dim = running.address, made.dim
    fresh = made.queries(256)
    params = {"index": index, "rows": options.number("rows"), "dim": dim}
    with lookalike.Client(address, timeout=120) as client:
        if "searches" in parts:
            before = _latency(running, client, fresh, options.number("queries"))
            _add(client, made, options.number("live"))
            # The server adds the rows to its graph in the background.
            time.sleep(options.seconds("settle"))
            settle(running)
            after = _latency(running, client, fresh, options.number("queries"))
            yield Row(
                "live",
                f"{index}, a search beside {options.number('live'):,} live rows",
                {**params, "live": options.number("live")},
                {
                    "p50_ms_without": before.p50_ms,
                    "p50_ms_with": after.p50_ms,
                    "ratio": after.p50_ms / before.p50_ms,
                    "cpu_ms_without": before.cpu_ms,
                    "cpu_ms_with": after.cpu_ms,
                    "cpu_ratio": after.cpu_ms / before.cpu_ms,
                },
            )
        if "single" in parts:
            one = _single(client, fresh, options.number("single"))
            sync = _fdatasync(root, dim, options.number("single"))
            yield Row(
                "live",
                f"{index}, one vector at a time",
                params,
                {"p50_ms": one, "fdatasync_p50_ms": sync, "ratio": one / sync},
            )
    for batch in options.numbers("batches") if "rate" in parts else ():
        clients = options.number("clients")
        spent = _cpu_seconds(running)
        calls, seconds = asyncio.run(_rate(address, fresh, clients, batch, options.seconds("seconds")))
        rate = calls * batch / seconds
        yield Row(
            "live",
            f"{index}, {clients} clients with {batch} vectors a call",
            {**params, "clients": clients, "batch": batch},
            {
                "vectors_a_second": rate,
                "calls_a_second": calls / seconds,
                # CPU time of the server's process, independent of other load.
                "server_cpu_us_a_vector": 1e6 * (_cpu_seconds(running) - spent) / (calls * batch),
            },
        )


def _cpu_seconds(running: Running) -> float:
    """Return user and system time of the server's own process, without the process of its network."""
    times = psutil.Process(running.pid).cpu_times()
    return float(times.user + times.system)


class _Latency(NamedTuple):
    """Median milliseconds of a search as the server reports it, and the server's CPU time of a whole call."""

    p50_ms: float
    cpu_ms: float


def _latency(running: Running, client: lookalike.Client, vectors: Float32, queries: int) -> _Latency:
    times = []
    spent = _cpu_seconds(running)
    for turn in range(queries):
        found = client.search(vector=vectors[turn % len(vectors)], k=10)
        times.append(found.served.timings.search_us / 1000)
    return _Latency(float(np.median(times)), 1000 * (_cpu_seconds(running) - spent) / queries)


def _add(client: lookalike.Client, made: Clustered, count: int) -> None:
    """Add `count` vectors of the same mixture that the collection does not have."""
    added = 0
    # Start with the first block without a row of the collection.
    more = dataclasses.replace(made, rows=made.rows + count + 2 * _BLOCK)
    for block in more.blocks(-(-made.rows // _BLOCK)):
        for start in range(0, len(block), _TOGETHER):
            some = block[start : start + _TOGETHER][: count - added]
            if len(some):
                client.upsert(vectors={f"live/{added + row}": vector for row, vector in enumerate(some)})
            added += len(some)


def _single(client: lookalike.Client, vectors: Float32, count: int) -> float:
    """Return the median time to store one vector, in milliseconds, at the caller."""
    times = []
    for turn in range(count):
        began = time.perf_counter()
        client.upsert(vectors={f"single/{turn}": vectors[turn % len(vectors)]})
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def _fdatasync(root: Path, dim: int, count: int) -> float:
    """Return the median time to write and sync the same number of bytes on the same disk, in milliseconds."""
    data = os.urandom(4 * dim + 100)
    times = []
    path = root / "sync.tmp"
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(data)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return 1000 * float(np.median(times))


async def _rate(address: str, vectors: Float32, clients: int, batch: int, seconds: float) -> tuple[int, float]:
    """Return the number of acknowledged calls, and the seconds that they took."""
    until = time.perf_counter() + seconds
    calls = 0

    async def one(number: int) -> None:
        nonlocal calls
        turn = 0
        async with lookalike.aio.Client(address, timeout=120) as client:
            while time.perf_counter() < until:
                rows = {f"{batch}/{number}/{turn}/{row}": vectors[(turn + row) % len(vectors)] for row in range(batch)}
                await client.upsert(vectors=rows)
                turn += 1
                calls += 1

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(clients)))
    took = time.perf_counter() - began
    return calls, took
