"""The option of the commands about near-duplicates."""

from __future__ import annotations

import math

import click


def _distance(context: click.Context, option: click.Parameter, value: str) -> float | None:
    if value == "auto":
        return None
    try:
        found = float(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is neither a number nor auto.") from error
    if math.isnan(found):
        raise click.BadParameter(f"{value!r} is neither a number nor auto.")
    if found < 0:
        raise click.BadParameter(f"{value} is below 0.")
    return found


max_distance_option = click.option(
    "--max-distance",
    default="auto",
    show_default=True,
    metavar="auto|D",
    callback=_distance,
    help="Images up to this distance are near-duplicates; auto finds the valley of the distances.",
)
