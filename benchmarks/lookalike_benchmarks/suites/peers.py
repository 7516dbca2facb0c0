"""Suite peers: other engines and Lookalike with the same vectors, machine and recall, in turn in one run."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from lookalike_benchmarks import data
from lookalike_benchmarks.contestant import Contestant, EngineError
from lookalike_benchmarks.engines.catalog import PEERS, Peer
from lookalike_benchmarks.environments import NotInstalledError, python_of
from lookalike_benchmarks.options import Options
from lookalike_benchmarks.results import Row, Settings
from lookalike_indexer.arrays import Float32, Int64

USUAL = {
    "peers": ",".join(PEERS),
    "rows": "20000",
    "dim": "2048",
    "queries": "512",
    "index": "auto",
    "recalls": "90,95,98,99",
    "rounds": "3",
    "seconds": "1",
    "build_seconds": "600",
    "cache": ".cache/peers",
}
QUICK = {
    "peers": "exact",
    "rows": "2000",
    "dim": "64",
    "queries": "128",
    "index": "ivf-flat",
    "recalls": "90",
    "rounds": "1",
    "seconds": "0.1",
}
K = 10
_BATCH = 64
_CALLERS = 16


@dataclass(frozen=True)
class _Setting:
    """Input of all engines."""

    options: Options
    queries: Float32
    truth: Int64
    vectors_file: Path
    queries_file: Path
    scratch: Path
    params: dict[str, Any]


@dataclass(frozen=True)
class _Built:
    """An engine that holds the vectors; `ladder` has the recall of each effort tried, ascending."""

    engine: Contestant
    about: dict[str, Any]
    ladder: list[tuple[int, float]]

    def effort(self, target: float) -> tuple[int, float] | None:
        """Return the cheapest effort that reached a recall, and its recall."""
        return next((step for step in self.ladder if step[1] >= target), None)


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite peers."""
    options = Options(settings, USUAL, QUICK)
    names = [name for name in options.text("peers").split(",") if name]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise click.BadParameter(f"--set peers={unknown[0]}: there are {', '.join(PEERS)}.")
    made = data.synthetic(options.number("rows"), options.number("dim"), options.number("queries"), settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        np.save(scratch / "vectors.npy", made.vectors)
        np.save(scratch / "queries.npy", made.queries)
        setting = _Setting(
            options=options,
            queries=made.queries,
            truth=_truth(made.vectors, made.queries),
            vectors_file=scratch / "vectors.npy",
            queries_file=scratch / "queries.npy",
            scratch=scratch,
            params={**made.params, "k": K},
        )
        del made
        for networked in (False, True):
            there = [PEERS[name] for name in names if PEERS[name].networked == networked]
            if there:
                yield from _against_ours(setting, there, "lookalike_served" if networked else "lookalike_local")


def _against_ours(setting: _Setting, peers: list[Peer], ours_name: str) -> Iterator[Row]:
    arguments = [setting.options.text("index")]
    with Contestant(ours_name, Path(sys.executable), setting.scratch, *arguments) as engine:
        ours, row = _built(setting, engine, {"asked_for": arguments[0]})
        yield row
        for peer in peers:
            yield from _against(setting, peer, ours)


def _against(setting: _Setting, peer: Peer, ours: _Built) -> Iterator[Row]:
    """Yield the rows of one peer; a failure is a row with the reason."""
    try:
        python = python_of(peer, Path(setting.options.text("cache")))
    except NotInstalledError as error:
        yield Row("peers", f"{peer.name}, not installed", setting.params, {}, f"cannot be installed here: {error}")
        return
    try:
        with Contestant(peer.module, python, setting.scratch, name=peer.name) as engine:
            theirs, row = _built(setting, engine, {"packages": " ".join(peer.packages)})
            yield row
            for target in setting.options.numbers("recalls"):
                yield from _at_recall(setting, peer, theirs, ours, target / 100)
    except EngineError as error:
        yield Row("peers", f"{peer.name}, failed", setting.params, {}, f"it failed here: {error}")


def _built(setting: _Setting, engine: Contestant, params: dict[str, Any]) -> tuple[_Built, Row]:
    before = engine.rss_mib()
    answer = engine.build(setting.vectors_file, setting.options.seconds("build_seconds"))
    ladder = _ladder(setting, engine, answer["efforts"])
    measured = {
        "build_seconds": answer["seconds"],
        "rss_mib": engine.rss_mib(),
        "rss_mib_before": before,
        "best_recall_at_10": max(recall for _, recall in ladder),
    }
    if disk := engine.disk_mib():
        measured["disk_mib"] = disk
    params = {**setting.params, **params, "engine": engine.name, **answer["about"]}
    return _Built(engine, answer["about"], ladder), Row("peers", f"{engine.name}, built", params, measured)


def _ladder(setting: _Setting, engine: Contestant, efforts: list[int]) -> list[tuple[int, float]]:
    """Return the recall of each effort, up to the first one that reaches the highest target."""
    steps: list[tuple[int, float]] = []
    highest = max(setting.options.numbers("recalls")) / 100
    for effort in efforts:
        found = engine.find(setting.queries, K, effort).ids
        steps.append((effort, _recall(found, setting.truth)))
        if steps[-1][1] >= highest:
            break
    return steps


def _at_recall(setting: _Setting, peer: Peer, theirs: _Built, ours: _Built, target: float) -> Iterator[Row]:
    steps = {"theirs": theirs.effort(target), "ours": ours.effort(target)}
    ways = [(1, 1), (1, _CALLERS)] if peer.networked else [(1, 1), (_BATCH, 1)]
    for batch, callers in ways:
        how = f"{callers} callers" if callers > 1 else ("1 caller" if batch == 1 else f"batches of {batch}")
        case = f"{peer.name}, recall@10 {target:.2f}, {how}"
        params = {**setting.params, "recall_target": target, "batch": batch, "callers": callers, "engine": peer.name}
        params |= {"networked": peer.networked, "ours": ours.engine.name}
        params |= {**theirs.about, "our_index": ours.about["index"]}
        if steps["theirs"] is None or steps["ours"] is None:
            which = peer.name if steps["theirs"] is None else "ours"
            best = max(recall for _, recall in (theirs if which == peer.name else ours).ladder)
            yield Row("peers", case, params, {}, f"{which} reaches a recall of {best:.3f} at best")
            continue
        (effort, recall), (our_effort, our_recall) = steps["theirs"], steps["ours"]
        rates: dict[str, list[float]] = {"theirs": [], "ours": []}
        cpu: dict[str, list[float]] = {"theirs": [], "ours": []}
        for _ in range(setting.options.number("rounds")):
            for name, built, chosen in (("theirs", theirs, effort), ("ours", ours, our_effort)):
                seconds = setting.options.seconds("seconds")
                timed = built.engine.time(setting.queries_file, K, chosen, batch, callers, seconds)
                rates[name].append(timed.queries_per_s)
                cpu[name].append(timed.cpu_us_per_query)
        ratios = [mine / their for mine, their in zip(rates["ours"], rates["theirs"], strict=True)]
        measured = {
            "queries_per_s": statistics.median(rates["theirs"]),
            "our_queries_per_s": statistics.median(rates["ours"]),
            "ratio_median": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "recall_at_10": recall,
            "our_recall_at_10": our_recall,
        }
        if not peer.networked:
            # Other programs on the machine take from the clock, and from this hardly.
            theirs_us, ours_us = statistics.median(cpu["theirs"]), statistics.median(cpu["ours"])
            measured |= {"cpu_us": theirs_us, "our_cpu_us": ours_us, "cpu_ratio": theirs_us / ours_us}
        yield Row("peers", case, {**params, "effort": effort, "our_effort": our_effort}, measured)


def _truth(vectors: Float32, queries: Float32) -> Int64:
    """Return the ids of the k nearest by inner product."""
    nearest: Int64 = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :K].astype(np.int64)
    return nearest


def _recall(found: Int64, truth: Int64) -> float:
    hits = (found[:, :, None] == truth[:, None, :]).any(axis=2)
    return float(hits.mean())
