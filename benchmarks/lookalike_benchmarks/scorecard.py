"""The developers' page: each target, and whether the measured rows reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lookalike_benchmarks.tables import format_value
from lookalike_benchmarks.targets import TARGETS, LabeledRow, Target, Verdict, judge


def scorecard(suites: Mapping[str, Sequence[LabeledRow]], reasons: Mapping[str, str]) -> list[str]:
    """Return the lines of the page; `reasons` has the reason for a missed target by its key."""
    lines = [
        "# Targets of the benchmarks",
        "",
        "For developers. `lookalike bench report` writes this page from the rows in `benchmarks/results`. The worst",
        "row of a target counts.",
        "",
        "| what | target | measured | | by |",
        "|---|---|---|---|---|",
    ]
    return lines + [_target(judge(target, suites[target.suite]), reasons.get(target.key, "")) for target in TARGETS]


def _target(verdict: Verdict, reason: str) -> str:
    target = verdict.target
    aim = ", ".join(bound.text() for bound in target.bounds)
    if verdict.row is None:
        result, figures, by = f"not measured{_because(target, reason)}", "", f"`lookalike bench {target.suite}`"
    else:
        result = "met" if verdict.met else f"**missed**{_because(target, reason)}"
        figures = ", ".join(f"{name} {format_value(figure)}" for name, figure in verdict.figures().items())
        by = f"{target.suite}: {verdict.row['case']}"
    return f"| {target.what} | {aim} | {figures} | {result} | {by} |"


def _because(target: Target, reason: str) -> str:
    if reason:
        return f": {reason}"
    return ": no such GPU here" if target.key.startswith("gpu-") else ""
