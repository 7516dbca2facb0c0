"""docs/benchmarks.md from the rows that were measured: targets, tables, charts, and the command behind each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from lookalike_benchmarks import results
from lookalike_benchmarks.charts import draw
from lookalike_benchmarks.tables import tables, told
from lookalike_benchmarks.targets import TARGETS, LabelledRow, Target, Verdict, judge

SUITES = ("embed", "kmeans", "search", "serve", "overload", "peers", "scale", "experiments", "explorer", "filters")
# Why a target is missed, written by people: `key = "reason"`, with the keys of targets.py.
REASONS = "reasons.toml"
_CHARTS = "benchmarks"


def write(out: Path, docs: Path) -> Path:
    """Write docs/benchmarks.md and docs/benchmarks/*.png from the finished suites in `out`; returns the page's path."""
    suites = {suite: list(results.read(out, suite)) for suite in SUITES}
    charts = draw(suites, docs / _CHARTS)
    lines = [
        "# Benchmarks",
        "",
        "Written by `lookalike bench report` from the rows in `benchmarks/results`. Every figure was measured, on the",
        "machine that its section names; ratios are of things measured in turn in one run. What was not measured is",
        "said to be so.",
        "",
        *_targets(suites, _reasons(out)),
    ]
    for suite, rows in suites.items():
        lines += _suite(suite, rows, charts.get(suite, []))
    docs.mkdir(parents=True, exist_ok=True)
    path = docs / "benchmarks.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def _targets(suites: Mapping[str, Sequence[LabelledRow]], reasons: Mapping[str, str]) -> list[str]:
    lines = ["## Targets", "", "| what | target | measured | | by |", "|---|---|---|---|---|"]
    lines += [_target(judge(target, suites[target.suite]), reasons.get(target.key, "")) for target in TARGETS]
    return [*lines, ""]


def _target(verdict: Verdict, reason: str) -> str:
    target = verdict.target
    aim = ", ".join(bound.told() for bound in target.bounds)
    if verdict.row is None:
        result, figures, by = f"not measured{_because(target, reason)}", "", f"`lookalike bench {target.suite}`"
    else:
        result = "met" if verdict.met else f"**missed**{_because(target, reason)}"
        figures = ", ".join(f"{name} {told(figure)}" for name, figure in verdict.figures().items())
        by = f"{target.suite}: {verdict.row['case']}"
    return f"| {target.what} | {aim} | {figures} | {result} | {by} |"


def _because(target: Target, reason: str) -> str:
    if reason:
        return f": {reason}"
    return ": no such GPU here" if target.key.startswith("gpu-") else ""


def _reasons(out: Path) -> dict[str, str]:
    path = out / REASONS
    return {key: str(value) for key, value in tomllib.loads(path.read_text()).items()} if path.exists() else {}


def _suite(suite: str, rows: Sequence[LabelledRow], charts: Sequence[str]) -> list[str]:
    lines = [f"## {suite}", ""]
    if not rows:
        return [*lines, f"Not measured yet; `lookalike bench {suite}` does.", ""]
    for number, run in enumerate(_runs(rows)):
        lines += _run(run, charts if number == 0 else [])
    return lines


def _runs(rows: Sequence[LabelledRow]) -> list[list[LabelledRow]]:
    """The rows of each machine and command, in the order in which they come."""
    runs: dict[str, list[LabelledRow]] = {}
    for row in rows:
        runs.setdefault(f"{row['machine']} {row['command']}", []).append(row)
    return list(runs.values())


def _run(rows: Sequence[LabelledRow], charts: Sequence[str]) -> list[str]:
    first = rows[0]
    machine = ", ".join(f"{name} {told(value)}" for name, value in first["machine"].items() if value)
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    lines = ["Each row again, by one command:", "", f"    {first['command']}", ""]
    lines += [f"On: {machine}.", "", f"With: {versions}.", ""]
    for chart in charts:
        lines += [f"![{chart.removesuffix('.png')}]({_CHARTS}/{chart})", ""]
    return lines + tables(rows)
