"""`lookalike verify`: check whether a collection is as it was written."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported

# The maximum number of files to list.
_SHOWN = 12

if TYPE_CHECKING:
    from lookalike_indexer.collection.storage import Storage
    from lookalike_indexer.verification.report import Report


@click.command(cls=CollectionCommand)
@collection_option
@click.option("--deep", is_flag=True, help="Read every row, and embed every image again.")
@click.option("--deleted", metavar="KEY", help="Only verify that nothing is left of this deleted image but its key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def verify(collection: str, deep: bool, deleted: str | None, as_json: bool) -> None:
    """Verify the collection in DIR: digests, schemas, ids, assignments, indexes, and embeddings against the source.

    Reads a sample of the rows of long tables, and embeds a few images of each
    model again. Exits with 1 if something is damaged, and prints how to repair
    it.
    """
    from lookalike_indexer.collection.location import open_storage

    if deleted is not None:
        _verify_deleted(open_storage(collection), deleted, as_json)
        return
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.verification.examination import VerifySettings
    from lookalike_indexer.verification.verify_stage import run_verify

    storage = open_storage(collection)
    report = run_verify(storage, VerifySettings(deep=deep), TerminalProgress())
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report)))
    else:
        click.echo("\n".join(summary(report, storage)))
    if report.damages:
        raise click.exceptions.Exit(1)


def _verify_deleted(storage: Storage, key: str, as_json: bool) -> None:
    from lookalike_indexer.text import counted
    from lookalike_indexer.verification.deleted import remains_of

    left = remains_of(storage, key)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(left)))
    elif left.files:
        names = ", ".join(left.files[:_SHOWN])
        more = f" and {len(left.files) - _SHOWN:,} more" if len(left.files) > _SHOWN else ""
        click.echo(f"{key} is deleted. It has remains in {counted(len(left.files), 'file')}: {names}{more}.")
        click.echo(f"Remove it with: {left.mend}")
    else:
        click.echo(f"Nothing is left of {key} but its key, which keeps it from being listed again.")
    if left.files:
        raise click.exceptions.Exit(1)


def summary(report: Report, storage: Storage) -> list[str]:
    """Return the findings, one line each."""
    width = max(len(check.name) for check in report.checks)
    lines = []
    for check in report.checks:
        note = f" ({check.note})" if check.note else ""
        lines.append(f"{check.name:<{width}}  {_counted(check.looked, check.unit)}{note}")
    bad = click.style("damaged", fg="red")
    lines += [f"{bad}: {storage.shown(damage.path)} {damage.what}; {damage.mend}." for damage in report.damages]
    if not report.damages:
        # A check of embeddings with no image has a reason, such as an absent source or absent weights.
        unchecked = [
            check.name for check in report.checks if check.name.startswith("embeddings of ") and not check.looked
        ]
        but = f"; not checked: {', '.join(unchecked)}" if unchecked else ""
        lines.append(f"{storage.location} is as it was written, generation {report.generation}{but}.")
    return lines


def _counted(number: int, unit: str) -> str:
    """Return the number with its unit; the units of checks are plurals."""
    one = {"indexes": "index"}.get(unit, unit.removesuffix("s"))
    return f"{number:,} {one if number == 1 else unit}"
