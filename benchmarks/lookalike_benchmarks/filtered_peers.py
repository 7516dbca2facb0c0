"""Peers and Lookalike under equal filters, each at the lowest effort that reaches the recall, in one run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lookalike_benchmarks.contestant import Contestant, EngineError
from lookalike_benchmarks.engines.catalog import PEERS
from lookalike_benchmarks.engines.shape import Where
from lookalike_benchmarks.environments import NotInstalledError, python_of
from lookalike_benchmarks.filtering import KINDS, Filterable, Kind
from lookalike_benchmarks.results import Row
from lookalike_indexer.arrays import Bools, Int64

K = 10
# A column of random ranks, and a column of class numbers.
_RANK, _CLASS = "rank", "class"
# Timeout in seconds of a pass over the queries.
_PATIENCE_S = 600


@dataclass(frozen=True)
class Setting:
    """Input of all engines; `classes`, (rows,), has the class of each vector."""

    points: Filterable
    classes: Int64
    shares: Sequence[float]
    target: float
    passes: int
    build_seconds: float
    cache: Path
    params: dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A filter for each query, and the rows that it allows."""

    kind: Kind
    share: float
    where: list[Where]
    masks: list[Bools]


@dataclass(frozen=True)
class _Reached:
    """The lowest effort whose recall reaches the target, or the best effort; processor milliseconds of a query."""

    effort: int
    recall: float
    cpu_ms: float
    complete: bool


def run(setting: Setting, names: Sequence[str], index: str) -> Iterator[Row]:
    """Yield a row for each peer and filter: the peer's processor time of a query over ours."""
    there = list(cells(setting))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        np.save(scratch / "vectors.npy", setting.points.vectors)
        np.save(scratch / "queries.npy", setting.points.queries)
        columns: dict[str, Any] = {_RANK: ranks(len(setting.classes)), _CLASS: setting.classes}
        np.savez(scratch / "columns.npz", **columns)
        with Contestant("lookalike_local", Path(sys.executable), scratch, index, patience=_PATIENCE_S) as engine:
            about, ours = _measured(setting, engine, scratch, there)
        for name in names:
            peer = PEERS[name]
            try:
                python = python_of(peer, setting.cache)
                with Contestant(peer.module, python, scratch, name=name, patience=_PATIENCE_S) as engine:
                    theirs_about, theirs = _measured(setting, engine, scratch, there)
            except (NotInstalledError, EngineError) as error:
                yield Row("filters", f"{name}, failed", setting.params, {}, f"it failed here: {error}")
                continue
            params = {**setting.params, "engine": name, "ours": about["index"], **theirs_about}
            for cell, mine, their in zip(there, ours, theirs, strict=True):
                yield _row(name, params, cell, mine, their)


def ranks(rows: int) -> Int64:
    """Return the column of ranks, (rows,): a random permutation of 0 to rows - 1."""
    return np.random.default_rng(0).permutation(rows)


def cells(setting: Setting) -> Iterator[Cell]:
    """Yield each kind and share of filters."""
    points, classes = setting.points, setting.classes
    rank = ranks(len(classes))
    for kind in KINDS:
        for share in setting.shares:
            if kind == "random":
                one = Where(_RANK, below=points.matches(share))
                masks = [rank < one.below] * len(points.queries)
                yield Cell(kind, share, [one] * len(points.queries), masks)
                continue
            # Whole classes, as a user's filter would be.
            chosen = [_classes(classes, order, points.matches(share), kind) for order in points.by_class]
            masks = [np.isin(classes, one) for one in chosen]
            yield Cell(kind, share, [Where(_CLASS, among=tuple(one)) for one in chosen], masks)


def _classes(classes: Int64, order: Any, count: int, kind: Kind) -> list[int]:
    """Return the classes of the `count` nearest or farthest rows of a query, ascending."""
    rows = order[:count] if kind == "near" else order[-count:]
    return [int(one) for one in np.unique(classes[rows])]


def _measured(
    setting: Setting, engine: Contestant, scratch: Path, cells: Sequence[Cell]
) -> tuple[dict[str, Any], list[_Reached]]:
    answer = engine.build(scratch / "vectors.npy", setting.build_seconds, scratch / "columns.npz")
    return answer["about"], [_reached(setting, engine, scratch, cell, answer["efforts"]) for cell in cells]


def _reached(setting: Setting, engine: Contestant, scratch: Path, cell: Cell, efforts: Sequence[int]) -> _Reached:
    best: _Reached | None = None
    for effort in efforts:
        found, _ = engine.filtered(scratch / "queries.npy", K, effort, cell.where, 0)
        recall = setting.points.recall(found, cell.masks)
        if best is None or recall > best.recall:
            best = _Reached(effort, recall, 0, _complete(found, cell.masks))
        if recall >= setting.target:
            break
    if best is None:
        raise EngineError("it has no efforts")
    _, cpu = engine.filtered(scratch / "queries.npy", K, best.effort, cell.where, setting.passes)
    return _Reached(best.effort, best.recall, 1000 * min(cpu) / len(cell.where), best.complete)


def _complete(found: Int64, masks: Sequence[Bools]) -> bool:
    there = zip(found, masks, strict=True)
    return all((rows >= 0).sum() == min(K, int(mask.sum())) and mask[rows[rows >= 0]].all() for rows, mask in there)


def _row(name: str, params: dict[str, Any], cell: Cell, ours: _Reached, theirs: _Reached) -> Row:
    measured = {
        "cpu_ms": theirs.cpu_ms,
        "our_cpu_ms": ours.cpu_ms,
        "ratio": theirs.cpu_ms / ours.cpu_ms,
        "recall_at_10": theirs.recall,
        "our_recall_at_10": ours.recall,
        "complete": float(theirs.complete),
        "our_complete": float(ours.complete),
    }
    about = {"filter": cell.kind, "share": cell.share, "effort": theirs.effort, "our_effort": ours.effort}
    reached = theirs.recall >= params["target"]
    note = "" if reached else f"{name} reaches a recall of {theirs.recall:.3f} at best"
    return Row("filters", f"{name}, {cell.kind} {100 * cell.share:g}%", {**params, **about}, measured, note)
