"""Time from starting `lookalike serve` to its first answer, against reading the index file in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lookalike_benchmarks.serving import serving
from lookalike_indexer.collection.reader import CollectionReader

_READ = "import sys, faiss; faiss.read_index(sys.argv[1])"
_IMPORT = "import lookalike_server.app"


def start_seconds(root: Path, gpus: int, rounds: int, cold: bool) -> dict[str, list[float]]:
    """Measure the wall-clock seconds of starts, in turn: "serve" until it prints SERVING, "read", "import".

    With `cold`, the collection's files are dropped from the page cache before each start; run once without `cold`
    before, so that Python's own files are cached. Without `cold` all files are cached.
    """
    reader = CollectionReader.open(str(root))
    path = str(reader.storage.local(reader.index().path))
    calls: dict[str, Callable[[], float]] = {
        "serve": lambda: _serve_seconds(root, gpus),
        "read": lambda: _run_seconds(_READ, path),
        "import": lambda: _run_seconds(_IMPORT),
    }
    # An uncounted call, which loads the files into the page cache.
    for call in () if cold else calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if cold:
                _drop(root)
            times[name].append(call())
    return times


def _serve_seconds(root: Path, gpus: int) -> float:
    where = {0: "cpu", 1: "gpu"}.get(gpus, "shard")
    options = ["--gpus", ",".join(map(str, range(gpus)))] if gpus else []
    began = time.perf_counter()
    with serving(root, "--placement", where, *options):
        return time.perf_counter() - began


def _run_seconds(code: str, *arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def _drop(root: Path) -> None:
    """Evict the files from the page cache; they were synced when they were written."""
    for path in root.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
