"""Charts of the results, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lookalike_benchmarks.targets import LabeledRow

Point = tuple[float, float]
# Minimum, median and maximum.
Range = tuple[float, float, float]
Lines = Mapping[str, Sequence[Point]]


def draw(suites: Mapping[str, Sequence[LabeledRow]], folder: Path) -> dict[str, list[str]]:
    """Draw the charts that the rows of each suite allow; return the names of the files by suite."""
    import matplotlib

    # No window: this runs on machines without a display.
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawers: dict[str, Callable[[Sequence[LabeledRow], Path], Iterator[str]]] = {
        "search": _search,
        "serve": _serve,
        "peers": _peers,
        "scale": _scale,
    }
    return {suite: list(drawers[suite](rows, folder)) for suite, rows in suites.items() if rows and suite in drawers}


def _search(rows: Sequence[LabeledRow], folder: Path) -> Iterator[str]:
    """Draw recall against queries/s, a chart for each batch size and placement."""
    found = [
        row for row in rows if {"recall_at_10", "queries_per_s"} <= row["measured"].keys() and "index" in row["params"]
    ]
    for batch, placement in sorted({(row["params"]["batch"], row["params"].get("placement", "cpu")) for row in found}):
        lines: dict[str, list[Point]] = {}
        for row in found:
            there = row["params"]["batch"], row["params"].get("placement", "cpu")
            if there == (batch, placement) and "recall_at_least" not in row["params"]:
                point = row["measured"]["recall_at_10"], row["measured"]["queries_per_s"]
                lines.setdefault(row["params"]["factory"], []).append(point)
        if lines:
            name = f"search-{placement}-batch-{batch}.png".replace(" ", "-")
            axes = _Chart(f"Search, batch {batch}, {placement}", "recall@10", "queries/s")
            yield axes.lines(lines).log_y().save(folder / name)


def _serve(rows: Sequence[LabeledRow], folder: Path) -> Iterator[str]:
    """Draw throughput and latency of closed loops by vector against the number of callers."""
    closed = sorted(
        (row for row in rows if row["params"].get("loop") == "closed" and row["params"]["kind"] == "vector"),
        key=lambda row: int(row["params"]["callers"]),
    )
    if not closed:
        return
    rates = {"queries/s": [(row["params"]["callers"], row["measured"]["queries_per_s"]) for row in closed]}
    chart = _Chart("Closed loop by vector: throughput", "callers", "queries/s")
    yield chart.lines(rates).log_x().save(folder / "serve-throughput.png")
    latencies = {
        name: [(row["params"]["callers"], row["measured"][f"{name}_ms"]) for row in closed]
        for name in ("p50", "p99", "p99_9")
    }
    chart = _Chart("Closed loop by vector: latency", "callers", "ms")
    yield chart.lines(latencies).log_x().log_y().save(folder / "serve-latency.png")


def _peers(rows: Sequence[LabeledRow], folder: Path) -> Iterator[str]:
    """Draw our queries/s over each peer's: a line for each peer and load, a dot for each recall."""
    dots: dict[str, dict[str, Range]] = {}
    for row in rows:
        if "ratio_median" in row["measured"]:
            params, measured = row["params"], row["measured"]
            how = "1 caller" if params["callers"] == 1 else f"{params['callers']} callers"
            if params["batch"] > 1:
                how = f"batches of {params['batch']}"
            found = measured["ratio_min"], measured["ratio_median"], measured["ratio_max"]
            dots.setdefault(f"recall {params['recall_target']:.2f}", {})[f"{params['engine']}, {how}"] = found
    if dots:
        chart = _Chart("Our queries/s over a peer's at equal recall@10", "times as many", "")
        yield chart.dots(dots).save(folder / "peers.png")


def _scale(rows: Sequence[LabeledRow], folder: Path) -> Iterator[str]:
    """Draw seconds and memory against the number of images, a line for each kind of work."""
    for unit, title in (("seconds", "Time"), ("_mib", "Memory")):
        lines: dict[str, list[Point]] = {}
        for row in rows:
            images = row["params"].get("rows", row["params"].get("images"))
            if not isinstance(images, int):
                continue
            work = row["case"].replace(f"{images:,}", "N").replace(str(images), "N")
            for name, value in row["measured"].items():
                if name.endswith(unit):
                    lines.setdefault(f"{work}: {name}", []).append((images, value))
        lines = {name: sorted(points) for name, points in lines.items() if len(points) > 1}
        if lines:
            chart = _Chart(f"{title} against the number of images", "images", unit.strip("_"))
            yield chart.lines(lines).log_x().log_y().save(folder / f"scale-{title.lower()}.png")


class _Chart:
    def __init__(self, title: str, x: str, y: str) -> None:
        from matplotlib.figure import Figure

        self._figure: Any = Figure(figsize=(8, 5), layout="constrained")
        self._axes: Any = self._figure.add_subplot(title=title, xlabel=x, ylabel=y)
        self._axes.grid(True, alpha=0.3)

    def lines(self, lines: Lines) -> _Chart:
        for name, points in lines.items():
            ordered = sorted(points)
            self._axes.plot([x for x, _ in ordered], [y for _, y in ordered], marker="o", label=name)
        if len(lines) > 1:
            self._axes.legend(fontsize="small")
        return self

    def dots(self, dots: Mapping[str, Mapping[str, Range]]) -> _Chart:
        """Draw medians with their ranges, by series and line; the line with the smallest median is the lowest."""
        rows = {row for series in dots.values() for row in series}
        order = sorted(rows, key=lambda row: min(series[row][1] for series in dots.values() if row in series))
        for number, (name, series) in enumerate(dots.items()):
            height = (number - (len(dots) - 1) / 2) * 0.22
            heights = [order.index(row) + height for row in series]
            self._axes.plot([found[1] for found in series.values()], heights, "o", label=name)
            self._axes.hlines(
                heights,
                [found[0] for found in series.values()],
                [found[2] for found in series.values()],
                colors=self._axes.lines[-1].get_color(),
            )
        self._axes.axvline(1, color="black", linewidth=1)
        self._axes.set_yticks(range(len(order)), order)
        self._axes.set_xscale("log")
        self._axes.legend(fontsize="small", loc="lower right")
        return self

    def log_x(self) -> _Chart:
        self._axes.set_xscale("log", base=2)
        return self

    def log_y(self) -> _Chart:
        self._axes.set_yscale("log")
        return self

    def save(self, path: Path) -> str:
        # Without the library's version, so that the same rows give the same bytes.
        self._figure.savefig(path, dpi=110, metadata={"Software": None})
        return path.name
