"""The option --class-map of analyses that run on a server."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click


def _classes_of_labels(ctx: click.Context, option: click.Parameter, path: str | None) -> Mapping[str, Any] | None:
    """Read the classes of each label from a CSV file; raise click.UsageError if it is invalid."""
    if path is None:
        return None
    classes: dict[str, list[str]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                classes.setdefault(row["label"], []).append(row["class"])
    except OSError as error:
        raise click.UsageError(
            f"--class-map {path} cannot be read: {(error.strerror or str(error)).lower()}."
        ) from error
    except KeyError as error:
        raise click.UsageError(f"--class-map {path} has no column {error}; give CSV with label and class.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"--class-map {path} is not CSV: {error}.") from error
    return classes


class_map_option = click.option(
    "--class-map",
    type=click.Path(),
    metavar="FILE",
    callback=_classes_of_labels,
    help="CSV of label and class (a name or an index), if the labels are not named as the model's classes are.",
)
