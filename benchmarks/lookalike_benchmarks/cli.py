"""`lookalike bench`: run a benchmark suite, or write the report."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path

import click

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
    "live",
    "graph",
)


@click.command(short_help="Measure, and report what was measured.")
@click.argument("suite", type=click.Choice([*SUITES, "report"]))
@click.option("--gpus", default="0", show_default=True, metavar="0,1,2", help="Counts of GPUs; 0 is the processor.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/results"))
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Real images.")
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="A state dict of ResNet-50.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="A parameter of the suite; repeatable.")
@click.option("--fronts", default="", metavar="1,2,4", help="Let `serve` compare servers of so many fronts alone.")
@click.option("--quick", is_flag=True, help="Sizes that take seconds: tests the suite, measures nothing of worth.")
def bench(
    suite: str,
    gpus: str,
    out: Path,
    photos: Path | None,
    weights: Path | None,
    options: tuple[str, ...],
    fronts: str,
    quick: bool,
) -> None:
    """Run a SUITE and keep its rows in OUT, or write docs/benchmarks.md from the rows with `report`."""
    if suite == "report":
        from lookalike_benchmarks.report import write

        click.echo(f"Wrote {write(out, Path('docs'))}")
        return
    from lookalike_benchmarks.machine import gpu_count
    from lookalike_benchmarks.results import Results, Settings

    there = gpu_count()
    asked = _counts(gpus)
    for count in asked:
        if count > there:
            click.echo(f"{count} GPUs are left out: {there} are here.", err=True)
    settings = Settings(
        gpus=tuple(count for count in asked if count <= there),
        quick=quick,
        photos=photos,
        weights=weights,
        options=_pairs((*options, f"fronts={fronts}") if fronts else options),
    )
    results = Results(out, suite, _repeatable(sys.argv[1:]))
    for row in importlib.import_module(f"lookalike_benchmarks.suites.{suite}").run(settings):
        results.add(row)
        told = ", ".join(f"{name} {_short(value)}" for name, value in row.measured.items())
        click.echo(f"{row.case}: {told}{' - ' + row.note if row.note else ''}")
    click.echo(f"Wrote {results.finish()}")


def _counts(text: str) -> list[int]:
    try:
        counts = [int(number) for number in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not numbers separated by commas, such as 0,1,2.") from error
    if min(counts) < 0:
        raise click.BadParameter(f"{text!r} has a negative number of GPUs.")
    return sorted(set(counts))


def _pairs(options: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(option.partition("=")[::2] for option in options)
    if not all("=" in option for option in options):
        raise click.BadParameter("each --set is NAME=VALUE.")
    return pairs


def _repeatable(arguments: list[str]) -> str:
    """Return the command for a row; a path outside the checkout is replaced by the name of its option."""
    shown = ["lookalike"]
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name, _, value = argument.rpartition("=")
        elsewhere = Path(value).is_absolute() or value.startswith("..")
        if elsewhere and name:
            shown.append(f"{name}={name.upper()}")
        else:
            shown.append(before.lstrip("-").upper() if elsewhere and before.startswith("--") else argument)
    return shlex.join(shown)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
