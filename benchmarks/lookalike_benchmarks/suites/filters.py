"""Suite filters: recall and processor time of filtered searches against unfiltered ones, by index and filter."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from lookalike_benchmarks import filtered_peers
from lookalike_benchmarks.data import Data
from lookalike_benchmarks.filtering import KINDS, Filterable, Kind, ladder
from lookalike_benchmarks.options import Options
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.searching import build_index
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.indexing.products import multiply_from_few
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.kinds import Measured
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.searcher import OnDevice
from lookalike_server.placement.strategies import RawHits

USUAL = {
    "rows": "100000",
    "dim": "2048",
    "queries": "60",
    "target": "0.95",
    "shares": "0.0001,0.001,0.01,0.1,0.5,0.9,0.99",
    "batch_shares": "0.01,0.5",
    "indexes": "flat;ivf-fp16;ivf-sq8;ivf-rabitq;hnsw",
    "passes": "3",
    "peers": "qdrant-edge,zvec,lancedb",
    "peers_index": "auto",
    "peers_shares": "0.001,0.01,0.1,0.5,0.9",
    "build_seconds": "900",
    "cache": ".cache/peers",
}
QUICK = {
    "rows": "3000",
    "dim": "32",
    "queries": "8",
    "shares": "0.01,0.5",
    "indexes": "flat;ivf-sq8",
    "passes": "1",
    "peers": "",
}
_K = 10
_TOGETHER = 64


@dataclass(frozen=True)
class _Subject:
    """An index as the server places it, and the effort that reaches the target."""

    name: str
    searcher: OnDevice
    effort: int
    points: Filterable
    params: dict[str, Any]


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite filters."""
    options = Options(settings, USUAL, QUICK)
    made = Clustered(rows=options.number("rows"), dim=options.number("dim"), seed=settings.seed)
    points = Filterable.of(made, options.number("queries"))
    shares = [float(share) for share in options.text("shares").split(",")]
    threads = faiss.omp_get_max_threads()
    # One thread, so that its processor time is that of the call.
    faiss.omp_set_num_threads(1)
    try:
        for name in options.texts("indexes"):
            subject = _subject(name, points, options, settings.seed)
            for kind in KINDS:
                for share in shares:
                    yield _filtered(subject, kind, share, options.number("passes"))
            for together in options.text("batch_shares").split(","):
                yield _different(subject, float(together), options.number("passes"))
    finally:
        faiss.omp_set_num_threads(threads)
    yield from _peers(options, made, points)


def _peers(options: Options, made: Clustered, points: Filterable) -> Iterator[Row]:
    names = [name for name in options.text("peers").split(",") if name]
    if not names:
        return
    setting = filtered_peers.Setting(
        points=points,
        classes=made.classes(),
        shares=[float(share) for share in options.text("peers_shares").split(",")],
        target=options.seconds("target"),
        passes=options.number("passes"),
        build_seconds=options.seconds("build_seconds"),
        cache=Path(options.text("cache")),
        params={
            "rows": made.rows,
            "dim": made.dim,
            "queries": len(points.queries),
            "k": filtered_peers.K,
            "target": options.seconds("target"),
        },
    )
    yield from filtered_peers.run(setting, names, options.text("peers_index"))


def _subject(name: str, points: Filterable, options: Options, seed: int) -> _Subject:
    data = Data(points.vectors, points.queries, {})
    with tempfile.TemporaryDirectory() as folder:
        built = build_index(name, data, seed, (), Path(folder))
    # As the server does.
    multiply_from_few(int(built.index.d), 1)
    recall = list(ladder(built.index, points.vectors))
    target = options.seconds("target")
    steps = [point for point in recall if point.k == _K]
    reached = [point.nprobe for point in steps if point.recall >= target]
    best = max(steps, key=lambda point: point.recall).nprobe if steps else 0
    effort = reached[0] if reached else best
    params = {
        "rows": len(points.vectors),
        "dim": points.vectors.shape[1],
        "index": name,
        "factory": built.factory,
        "k": _K,
        "target": target,
        "effort": effort,
    }
    return _Subject(name, OnDevice("cpu", built.index, "cosine", measured=Measured(recall)), effort, points, params)


def _filtered(subject: _Subject, kind: Kind, share: float, passes: int) -> Row:
    points, search = subject.points, subject.searcher.search
    masks = points.masks(kind, share)
    by_mask = {id(mask): RowMask(mask) for mask in masks}
    theirs = [by_mask[id(mask)] for mask in masks]
    queries = [points.queries[line : line + 1] for line in range(len(points.queries))]

    def filtered(line: int) -> RawHits:
        return search(queries[line], _K, subject.effort, masks=QueryMasks.of([theirs[line]]))

    def unfiltered(line: int) -> RawHits:
        return search(queries[line], _K, subject.effort)

    first_ms = 1000 * np.mean([_cpu(filtered, line)[0] for line in range(len(queries))])
    times: list[list[list[float]]] = [[], []]
    for _ in range(passes):
        for place, call in enumerate((unfiltered, filtered)):
            timed = [_cpu(call, line) for line in range(len(queries))]
            times[place].append([seconds for seconds, _ in timed])
    usual_ms, ms = (1000 * float(np.mean(np.min(each, axis=0))) for each in times)
    found = [filtered(line) for line in range(len(queries))]
    rows, usual = (
        np.concatenate([one.rows for one in found]),
        np.concatenate([unfiltered(i).rows for i in range(len(queries))]),
    )
    recall, usual_recall = points.recall(rows, masks), points.recall(usual)
    facts = [one.facts for one in found if one.facts is not None]
    strategies = [fact.strategy[0] for fact in facts]
    measured = {
        "recall_at_10": recall,
        "recall_unfiltered": usual_recall,
        "recall_ratio": recall / usual_recall,
        "cpu_ms": ms,
        "cpu_ms_unfiltered": usual_ms,
        "ratio": ms / usual_ms,
        "cpu_ms_first": float(first_ms),
        "complete": float(_complete(rows, masks)),
    }
    visited = float(np.mean([fact.visited[0] for fact in facts]))
    if visited:
        measured["lists_visited"] = visited
    note = max(set(strategies), key=strategies.count)
    return Row(
        "filters",
        f"{subject.name}, {kind} {100 * share:g}%",
        {**subject.params, "filter": kind, "share": share},
        measured,
        note,
    )


def _different(subject: _Subject, share: float, passes: int) -> Row:
    """Measure a batch of queries with a filter each, against the same batch with one filter for all."""
    points = subject.points
    queries = np.resize(points.queries, (_TOGETHER, points.queries.shape[1]))
    different = QueryMasks.of([RowMask(points.masks("random", share, seed)[0]) for seed in range(_TOGETHER)])
    same = QueryMasks.of([different.masks[0]] * _TOGETHER)
    times: list[list[float]] = [[], [], []]
    for _ in range(passes + 1):
        for place, masks in enumerate((None, same, different)):
            times[place].append(
                _cpu(lambda masks=masks: subject.searcher.search(queries, _K, subject.effort, masks=masks))[0]
            )
    none_s, same_s, different_s = (min(each[1:]) for each in times)
    measured = {
        "cpu_ms_a_query": 1000 * different_s / _TOGETHER,
        "cpu_ms_a_query_one_filter": 1000 * same_s / _TOGETHER,
        "cpu_ms_a_query_unfiltered": 1000 * none_s / _TOGETHER,
        "ratio": different_s / same_s,
    }
    case = f"{subject.name}, {_TOGETHER} filters of {100 * share:g}% in a batch over one"
    return Row("filters", case, {**subject.params, "filter": "random", "share": share, "batch": _TOGETHER}, measured)


def _complete(found: Int64, masks: Sequence[Bools]) -> bool:
    """Return True if every query has min(k, matches) neighbors, and all of them match."""
    return all(
        len(there) == min(len(rows), int(mask.sum())) and bool(mask[there].all())
        for rows, mask in zip(found, masks, strict=True)
        for there in [rows[rows >= 0]]
    )


def _cpu(call: Callable[..., RawHits], *arguments: int) -> tuple[float, RawHits]:
    """Return the seconds of this thread's processor time that a call takes, and its result."""
    began = time.thread_time()
    found = call(*arguments)
    return time.thread_time() - began, found
