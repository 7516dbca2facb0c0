"""An engine in a process of its own, controlled by the suite peers."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil

import lookalike
import lookalike_benchmarks
import lookalike_indexer
import lookalike_server
from lookalike_benchmarks.engines.shape import Where
from lookalike_benchmarks.timing import Taken
from lookalike_indexer.arrays import Float32, Int64

# Folders of our packages: an engine's environment has only its library and numpy.
_SOURCES = [
    str(Path(package.__path__[0]).parent)
    for package in (lookalike, lookalike_benchmarks, lookalike_indexer, lookalike_server)
]


class EngineError(Exception):
    """An engine exited, or exceeded its timeout; the message is its last line of output."""


@dataclass(frozen=True)
class Timed:
    """Calls within one interval. `cpu_s` is the processor time of the engine's process, without its servers."""

    batch: int
    latencies_s: list[float]
    seconds: float
    cpu_s: float

    @property
    def queries_per_s(self) -> float:
        return self.batch * len(self.latencies_s) / self.seconds

    @property
    def cpu_us_per_query(self) -> float:
        return 1e6 * self.cpu_s / (self.batch * len(self.latencies_s))


@dataclass(frozen=True)
class Found:
    """Ids of the nearest vectors of each query (n, k), and the time that the engine took to find them."""

    ids: Int64
    taken: Taken


class Contestant:
    """A process of one engine, a module of the folder engines/; it exits with the block.

    Results name it `name`, by default the module's name. Each task except the build has a timeout of `patience`
    seconds. `start` is the time that the engine took to import and make itself, which for some includes compiling.
    """

    start: Taken

    def __init__(
        self, module: str, python: Path, scratch: Path, *arguments: str, patience: float = 120, name: str = ""
    ) -> None:
        self.name = name or module
        self._scratch = scratch / module
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._patience = patience
        self._numbers = itertools.count()
        self._errors = (self._scratch / "errors").open("w+")
        # -P: a module of the folder engines/ has the name of the library that it imports.
        self._process = subprocess.Popen(
            [str(python), "-P", "-m", "lookalike_benchmarks.engines.process", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(_SOURCES),
                "PYTHONWARNINGS": "ignore",
                # An empty cache: an engine that compiles does so in each process.
                "NUMBA_CACHE_DIR": str(self._scratch / "numba"),
            },
        )
        self.start = Taken(**self._answer(patience))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The engine ends its own child processes; they are killed here only if it fails to.
        children = self._processes()
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in children:
            if child.is_running():
                child.kill()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    def build(self, vectors: Path, limit_s: float, columns: Path | None = None) -> dict[str, Any]:
        """Store and index the vectors of a .npy file; return the time, efforts and the engine's description.

        `columns` is an .npz file with the columns that filters may name.
        """
        folder = self._scratch / "stored"
        folder.mkdir()
        task = {"task": "build", "vectors": str(vectors), "folder": str(folder)}
        return self._asked(task if columns is None else {**task, "columns": str(columns)}, limit_s)

    def filtered(
        self, queries: Path, k: int, effort: int, where: Sequence[Where], passes: int
    ) -> tuple[Int64, list[float]]:
        """Find the nearest ids, (n, k), each query with its filter, and the processor seconds of each pass."""
        out = self._scratch / "filtered.npy"
        task = {"task": "filtered", "queries": str(queries), "k": k, "effort": effort, "passes": passes}
        answer = self._asked({**task, "where": [asdict(one) for one in where], "out": str(out)})
        found: Int64 = np.load(out)
        return found, answer["cpu_s"]

    def find(self, queries: Float32, k: int, effort: int) -> Found:
        """Find the nearest ids of each query."""
        out = self._scratch / "found.npy"
        task = {"task": "find", "queries": self._saved(queries), "k": k, "effort": effort, "out": str(out)}
        taken = Taken(**self._asked(task))
        return Found(np.load(out), taken)

    def time(self, queries: Path, k: int, effort: int, batch: int, callers: int, seconds: float) -> Timed:
        """Send queries for `seconds` and time them."""
        task = {"task": "time", "queries": str(queries), "k": k, "effort": effort, "batch": batch}
        answer = self._asked({**task, "callers": callers, "seconds": seconds})
        return Timed(batch, answer["latencies_s"], answer["seconds"], answer["cpu_s"])

    def rss_mib(self) -> float:
        """Return the resident memory of the process and its children in MiB."""
        return float(sum(one.memory_info().rss for one in self._processes()) / 2**20)

    def disk_mib(self) -> float:
        """Return the size of the stored files in MiB."""
        files = (path for path in (self._scratch / "stored").rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) / 2**20

    def _processes(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _saved(self, queries: Float32) -> str:
        path = self._scratch / f"queries-{next(self._numbers)}.npy"
        np.save(path, queries)
        return str(path)

    def _asked(self, task: dict[str, Any], limit_s: float = 0) -> dict[str, Any]:
        if self._process.stdin is None:
            raise EngineError("it has no input")
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self._answer(limit_s or self._patience)

    def _answer(self, limit_s: float) -> dict[str, Any]:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        alarm = threading.Timer(limit_s, give_up)
        alarm.start()
        try:
            line = self._process.stdout.readline() if self._process.stdout else ""
        finally:
            alarm.cancel()
        if not line:
            self._process.wait()
            raise EngineError(f"it did not answer within {limit_s:g} s" if late.is_set() else self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][:300] if lines else "it ended without a word"
