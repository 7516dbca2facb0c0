"""Pages and files that `lookalike bench report` writes from the measured rows."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from lookalike_benchmarks import results
from lookalike_benchmarks.charts import draw
from lookalike_benchmarks.questions import QUESTIONS, Question
from lookalike_benchmarks.scorecard import scorecard
from lookalike_benchmarks.tables import comma_separated, format_value
from lookalike_benchmarks.targets import LabeledRow

SUITES = (
    "embed",
    "kmeans",
    "search",
    "serve",
    "overload",
    "peers",
    "scale",
    "experiments",
    "explorer",
    "filters",
    "graph",
    "live",
)
# Reasons for missed targets, written by people: `key = "reason"`, with the keys of targets.py.
REASONS = "reasons.toml"
SCORECARD = "benchmark-targets.md"
_CHARTS = "benchmarks"


def write(out: Path, docs: Path) -> Path:
    """Write the report of the finished suites in `out`; return the path of docs/benchmarks.md.

    Besides that page, for people who choose a tool, this writes its charts
    docs/benchmarks/*.png, the developers' page docs/benchmark-targets.md, and all
    rows of each suite as `out`/csv/SUITE.csv.
    """
    suites = {suite: list(results.read(out, suite)) for suite in SUITES}
    charts = draw(suites, docs / _CHARTS)
    (out / "csv").mkdir(parents=True, exist_ok=True)
    for suite, rows in suites.items():
        if rows:
            (out / "csv" / f"{suite}.csv").write_text(comma_separated(rows))
    lines = [
        "# Benchmarks",
        "",
        "Each section answers one question and names the machine and the command. `lookalike bench report` writes",
        f"this page and [the developers' page of targets]({SCORECARD}) from the rows in `benchmarks/results`. Ratios",
        "are of things measured in turn in one run. The CSV file of a section has all rows with every parameter.",
        "",
    ]
    for question in QUESTIONS:
        lines += _section(question, suites[question.suite], charts.get(question.suite, []))
    docs.mkdir(parents=True, exist_ok=True)
    (docs / SCORECARD).write_text("\n".join(scorecard(suites, _reasons(out))) + "\n")
    path = docs / "benchmarks.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def _reasons(out: Path) -> dict[str, str]:
    path = out / REASONS
    return {key: str(value) for key, value in tomllib.loads(path.read_text()).items()} if path.exists() else {}


def _section(question: Question, rows: Sequence[LabeledRow], charts: Sequence[str]) -> list[str]:
    lines = [f"## {question.title}", "", *([question.text, ""] if question.text else [])]
    if not rows:
        return [*lines, f"Not measured yet; `lookalike bench {question.suite}` does.", ""]
    for chart in charts:
        if chart.startswith(question.charts):
            lines += [f"![{chart.removesuffix('.png')}]({_CHARTS}/{chart})", ""]
    for run in _runs(rows):
        if table := question.table(run):
            lines += [*_origin(run), *table]
    return [*lines, f"[All rows](../benchmarks/results/csv/{question.suite}.csv)", ""]


def _runs(rows: Sequence[LabeledRow]) -> list[list[LabeledRow]]:
    """Group the rows by machine and command, in order of appearance."""
    runs: dict[str, list[LabeledRow]] = {}
    for row in rows:
        runs.setdefault(f"{row['machine']} {row['command']}", []).append(row)
    return list(runs.values())


def _origin(rows: Sequence[LabeledRow]) -> list[str]:
    """Return the command of a run, its machine, and its data if all rows have the same."""
    row = rows[0]
    machine, params = row["machine"], row["params"]
    sizes = {one["params"].get("rows") for one in rows}
    gpus = f", {', '.join(machine['gpus'])}" if machine.get("gpus") else ""
    data = (
        f" {params['rows']:,} vectors of {params['dim']:,} numbers."
        if len(sizes) == 1 and {"rows", "dim"} <= params.keys()
        else ""
    )
    return [
        f"`{row['command']}`",
        "",
        f"On {machine['processor']}, {format_value(machine['cores'])} cores{gpus}.{data}",
        "",
    ]
