"""Suite serve: a server on loopback, called by other processes in closed and open loops, against bare faiss."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike_benchmarks import fronts, overhead, servable, sharded
from lookalike_benchmarks.bare import Bare
from lookalike_benchmarks.load import requests as asked
from lookalike_benchmarks.load.fleet import Load, ask
from lookalike_benchmarks.load.job import Job, write_requests
from lookalike_benchmarks.load.requests import Requests
from lookalike_benchmarks.options import Options, left_out
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.serving import Running, serving
from lookalike_benchmarks.synthetic import key
from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.placement.devices import Cpu, Device, Gpu

USUAL = {
    "rows": "100000",
    "arch": "resnet50",
    "index": "ivf-rabitq",
    "clusters": "256",
    "k": "10",
    "callers": "1,4,16,64,256",
    "busy": "64",
    "rates": "25,50,80",
    "seconds": "4",
    "rounds": "3",
    "cache": ".cache/benchmarks",
    "fronts": "",
    "shards": "",
}
QUICK = {
    "rows": "3000",
    "arch": "resnet18",
    "index": "ivf-flat",
    "clusters": "8",
    "callers": "1,8",
    "busy": "8",
    "rates": "50",
    "seconds": "0.3",
    "rounds": "1",
    "cache": "",
}
_QUERIES = 512
_MEMBERS = 10
# From this number of callers on, a single process of callers would be as busy as the server.
_TWO_PROCESSES = 16


@dataclass(frozen=True)
class _Subject:
    """A collection that is served on a device, and its queries."""

    reader: CollectionReader
    server: Running
    device: Device
    queries: Float32
    scratch: Path
    options: Options
    params: dict[str, Any]

    @property
    def k(self) -> int:
        return self.options.number("k")

    @property
    def seconds(self) -> float:
        return self.options.seconds("seconds")


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite serve."""
    options = Options(settings, USUAL, QUICK)
    wanted = servable.Servable(
        rows=options.number("rows"),
        arch=options.text("arch"),
        index=options.text("index"),
        clusters=options.number("clusters"),
        seed=settings.seed,
        weights=settings.weights,
    )
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        reader = servable.collection(Path(options.text("cache") or folder), wanted)
        files = _photographs(settings.photos) or servable.pictures(32, settings.seed)
        for gpus in settings.gpus:
            if gpus > 1:
                left_out(f"serve on {gpus} GPUs", "bare faiss is compared on the processor and on one GPU")
                continue
            placement, device = ("gpu", Gpu(0)) if gpus else ("cpu", Cpu())
            params = {**wanted.params(), "placement": placement, "gpus": gpus, **_effort(reader)}
            if options.numbers("fronts") or options.numbers("shards"):
                trial = fronts.Trial(
                    reader.storage.root,
                    ("--placement", placement, *_weights(settings)),
                    wanted.vectors.queries(_QUERIES),
                    options.number("k"),
                    options.number("busy"),
                    options.seconds("seconds"),
                    options.number("rounds"),
                    scratch,
                )
                if counts := options.numbers("fronts"):
                    yield from fronts.compared(trial, counts, params)
                if counts := options.numbers("shards"):
                    yield from sharded.compared(trial, counts, params)
                continue
            with serving(reader.storage.root, "--placement", placement, *_weights(settings)) as server:
                queries = wanted.vectors.queries(_QUERIES)
                yield from _rows(_Subject(reader, server, device, queries, scratch, options, params), files)


def _rows(subject: _Subject, files: list[bytes]) -> Iterator[Row]:
    vectors = asked.by_vector(subject.queries, subject.k)
    keys = [key(row * 7919 % subject.params["rows"]) for row in range(_QUERIES)]
    # A new server opens its network in the background; wait, since this would distort the measurements.
    pictures = asked.by_picture(files, subject.k)
    _closed(subject, "image", pictures, 1)
    fastest = 0.0
    for callers in subject.options.numbers("callers"):
        row, load = _closed(subject, "vector", vectors, callers)
        fastest = max(fastest, load.calls_per_s)
        yield row
    kinds = {
        "key": asked.by_key(keys, subject.k),
        "membership by key": asked.memberships_of_keys(keys, _MEMBERS),
        "membership by vector": asked.memberships_of_vectors(subject.queries, _MEMBERS),
        "image": pictures,
        "batch of 64": asked.by_vector(subject.queries, subject.k, 64),
    }
    few = {"image": 8, "batch of 64": 4}
    for name, requests in kinds.items():
        for callers in (1, few.get(name, subject.options.number("busy"))):
            yield _closed(subject, name, requests, callers)[0]
    for percent in subject.options.numbers("rates"):
        yield _open(subject, vectors, fastest * percent / 100, percent)
    yield from _against_faiss(subject)


def _closed(subject: _Subject, kind: str, requests: Requests, callers: int) -> tuple[Row, Load]:
    processes = 2 if callers >= _TWO_PROCESSES else 1
    path = write_requests(subject.scratch / "requests", requests.messages)
    job = Job(subject.server.address, requests.method, str(path), callers, subject.seconds, warm_s=_warm(subject))
    before = subject.server.cpu_seconds()
    load = ask(job, processes)
    cpu = subject.server.cpu_seconds() - before
    params = {"kind": kind, "callers": callers, "processes": processes, "queries_in_a_call": requests.queries}
    measured = _measured(load, requests)
    if measured:
        measured["server_cpu_us_per_call"] = cpu / load.all_calls * 1e6
        measured["server_rss_mib"] = subject.server.rss_mib()
    case = f"closed loop by {kind}, {callers} {'caller' if callers == 1 else 'callers'}"
    return _row(subject, case, {"loop": "closed", **params, "seconds": subject.seconds}, measured, load.note()), load


def _open(subject: _Subject, requests: Requests, rate: float, percent: int) -> Row:
    path = write_requests(subject.scratch / "requests", requests.messages)
    job = Job(subject.server.address, requests.method, str(path), 2, subject.seconds, _warm(subject), rate=rate)
    load = ask(job, processes=2)
    params = {
        "loop": "open",
        "kind": "vector",
        "rate_per_s": round(rate, 1),
        "percent_of_the_fastest_closed_loop": percent,
        "processes": 2,
        "seconds": subject.seconds,
    }
    return _row(
        subject,
        f"open loop by vector, {percent} % of the fastest closed loop",
        params,
        _measured(load, requests),
        "; ".join(filter(None, ["latency from the intended start", load.note()])),
    )


def _against_faiss(subject: _Subject) -> Iterator[Row]:
    bare = Bare(subject.reader, subject.device)
    trial = overhead.Trial(
        server=subject.server,
        bare=bare,
        queries=subject.queries,
        k=subject.k,
        seconds=subject.seconds,
        warm_s=_warm(subject),
        rounds=subject.options.number("rounds"),
        threads=ThreadBudget.detect().search,
        scratch=subject.scratch,
    )
    shared = {"seconds": trial.seconds, "rounds": trial.rounds, "faiss_threads": trial.threads}
    for case, params, measured, note in overhead.compared(trial):
        yield _row(subject, case, {**shared, **params}, measured, note)


def _measured(load: Load, requests: Requests) -> dict[str, Any]:
    if not load.calls:
        return {}
    measured = {"queries_per_s": load.calls_per_s * requests.queries, **load.measured()}
    if requests.method == asked.SEARCH:
        measured["mean_batch_size"] = asked.batch_size(load.replies)
    return measured


def _row(subject: _Subject, case: str, params: dict[str, Any], measured: dict[str, Any], note: str = "") -> Row:
    where = "" if subject.params["placement"] == "cpu" else ", one GPU"
    return Row("serve", case + where, {**subject.params, "k": subject.k, **params}, measured, note)


def _warm(subject: _Subject) -> float:
    return min(1.0, subject.seconds)


def _effort(reader: CollectionReader) -> dict[str, Any]:
    entry = reader.index()
    reached = {point.nprobe: point.recall for point in entry.recall if point.k == 10}
    return {"factory": entry.factory, "nprobe": entry.default_nprobe, "recall_at_10": reached.get(entry.default_nprobe)}


def _weights(settings: Settings) -> list[str]:
    return [] if settings.weights is None else ["--weights", str(settings.weights.absolute())]


def _photographs(folder: Path | None) -> list[bytes]:
    """Return the first images of a folder; [] without one."""
    paths = [] if folder is None else sorted(folder.rglob("*.jpg"))[:32]
    return [path.read_bytes() for path in paths]
