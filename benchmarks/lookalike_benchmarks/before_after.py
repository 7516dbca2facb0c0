"""Cost of a call for two versions of the server and a bare gRPC echo, measured in turn.

    python -m lookalike_benchmarks.before_after BEFORE COLLECTION

BEFORE is a checkout of the version to compare this one with. Both serve COLLECTION at the same time and are called in
turn: by 1, 16 and 64 callers with one vector per call, and by two callers with 64 vectors per call. A line for each
load has the processor's microseconds of a call and the p50 of both, and their ratios: medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lookalike_benchmarks.fronts import wait_for_network
from lookalike_benchmarks.load import echo
from lookalike_benchmarks.load import requests as asked
from lookalike_benchmarks.load.fleet import ask
from lookalike_benchmarks.load.job import Job, write_requests
from lookalike_benchmarks.load.requests import Requests
from lookalike_benchmarks.serving import Running, listening
from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader

_PACKAGES = ("client", "indexer", "server", "benchmarks")
_K, _QUERIES = 10, 512
# Queries are stored vectors with a little noise.
_NOISE = 0.01
_REPLY_BYTES = 500


class _Load(NamedTuple):
    callers: int
    queries: int

    @property
    def text(self) -> str:
        return f"{self.callers} {'caller' if self.callers == 1 else 'callers'}, {self.queries} in a call"


LOADS = (_Load(1, 1), _Load(16, 1), _Load(64, 1), _Load(2, 64))


@dataclass
class _Found:
    """Measurements of each round."""

    cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--loads", default="1,16,64,2x64", help="callers, and vectors in a call where there are several"
    )
    parser.add_argument("--options", default="", help="options of both servers, as one word")
    given = parser.parse_args(arguments)
    loads = [_load(text) for text in given.loads.split(",")]
    queries = _queries(given.collection)
    here = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ended:
        servers = {
            name: ended.enter_context(listening(_command(checkout, given.collection, given.options), _SERVING))
            for name, checkout in (("before", given.before.resolve()), ("after", here))
        }
        for server in servers.values():
            wait_for_network(server)
        command = [sys.executable, "-m", "lookalike_benchmarks.load.echo", str(_REPLY_BYTES)]
        servers["echo"] = ended.enter_context(listening(command, r"ECHO on (127\.0\.0\.1:\d+)"))
        for load in loads:
            requests = asked.by_vector(queries, _K, load.queries)
            found = {name: _Found() for name in servers}
            for _ in range(given.rounds):
                for name, server in servers.items():
                    method = echo.METHOD if name == "echo" else requests.method
                    _ask(server, Requests(method, requests.messages), load, given.seconds, Path(folder), found[name])
            print(f"{load.text:>24}: {_line(found)}", flush=True)


_SERVING = r"SERVING .* on (127\.0\.0\.1:\d+)"


def _load(text: str) -> _Load:
    callers, _, queries = text.partition("x")
    return _Load(int(callers), int(queries or 1))


def _command(checkout: Path, collection: Path, options: str) -> list[str]:
    paths = os.pathsep.join([*(str(checkout / name) for name in _PACKAGES), str(checkout)])
    serve = [sys.executable, "-m", "lookalike", "serve", str(collection), "--port", "0", *options.split()]
    return ["env", f"PYTHONPATH={paths}", *serve]


def _queries(collection: Path) -> Float32:
    _, vectors = next(iter(CollectionReader.open(str(collection)).stream()))
    some = vectors[:_QUERIES]
    noise = np.random.default_rng(0).standard_normal(some.shape) * (_NOISE * float(np.abs(some).mean()))
    return (some + noise).astype(np.float32)


def _ask(server: Running, requests: Requests, load: _Load, seconds: float, scratch: Path, found: _Found) -> None:
    path = write_requests(scratch / "requests", requests.messages)
    before = server.cpu_seconds()
    answered = ask(Job(server.address, requests.method, str(path), load.callers, seconds, 0.5))
    found.cpu_us.append((server.cpu_seconds() - before) / max(1, answered.all_calls) * 1e6)
    found.p50_ms.append(answered.percentile_ms(50))


def _line(found: dict[str, _Found]) -> str:
    told = [
        f"{name} {statistics.median(of.cpu_us):.0f} us, {statistics.median(of.p50_ms):.2f} ms"
        for name, of in found.items()
    ]
    before, after = found["before"], found["after"]
    cpu = [b / a for b, a in zip(after.cpu_us, before.cpu_us, strict=True)]
    p50 = [b / a for b, a in zip(after.p50_ms, before.p50_ms, strict=True)]
    return (
        f"{'; '.join(told)}; after over before: CPU {statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f}), "
        f"p50 {statistics.median(p50):.2f} ({min(p50):.2f} to {max(p50):.2f})"
    )


if __name__ == "__main__":
    main()
