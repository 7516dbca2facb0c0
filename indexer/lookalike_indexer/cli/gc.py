"""`lookalike gc`: remove files that no kept generation names."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.text import counted

if TYPE_CHECKING:
    from lookalike_indexer.collection.garbage import GarbageReport

_SHOWN = 10


@click.command(cls=CollectionCommand)
@collection_option
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Keep the newest N generations.",
)
@click.option(
    "--assume-unread",
    is_flag=True,
    help="Also remove generations if the file system cannot tell whether they are in use.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def gc(collection: str, keep: int, assume_unread: bool, dry_run: bool, as_json: bool) -> None:
    """Remove old generations of the collection in DIR, and the files that no other generation needs.

    Generations that a server or another command reads are kept, and so is the
    last one with an index of its default space. Unfinished files of killed runs
    are removed. Files that do not belong to the collection stay, and the output
    names them.
    """
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.garbage import collect
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing

    storage = open_storage(collection)
    generations.require_latest(storage)
    with writing(storage, sweep=not dry_run):
        done = collect(storage, keep, dry_run=dry_run, assume_unread=assume_unread)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **dataclasses.asdict(done)}))
    else:
        click.echo("\n".join(summary(done, dry_run)))


def summary(done: GarbageReport, dry_run: bool) -> list[str]:
    """Return the summary of the removal, one line for each fact."""
    did = "would remove" if dry_run else "removed"
    lines = [
        f"{did} {counted(len(done.removed), 'generation')}, {counted(len(done.files), 'file')} in all, "
        f"{done.bytes / 2**20:.1f} MiB; kept {_named(done.kept)}"
    ]
    if done.in_use:
        lines.append(f"{_named(done.in_use)} {_verb(done.in_use)} kept because {_in_use(done.in_use)}")
    if done.in_doubt:
        lines.append(
            f"{_named(done.in_doubt)} {_verb(done.in_doubt)} kept because this file system has no locks that tell "
            f"whether {_in_use(done.in_doubt)}; if no server reads generations, add --assume-unread"
        )
    if done.servable is not None:
        lines.append(f"generation {done.servable} was kept because no newer one has an index that can be searched")
    if dry_run:
        lines += _some(done.files, "  ")
    if done.foreign:
        lines.append(f"{counted(len(done.foreign), 'foreign file')} {_verb(done.foreign)} left alone:")
        lines += _some(done.foreign, "  ")
    return lines


def _some(paths: list[str], indent: str) -> list[str]:
    more = [f"{indent}and {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []
    return [f"{indent}{path}" for path in paths[:_SHOWN]] + more


def _named(generations: Sequence[int]) -> str:
    return f"generation{'s' * (len(generations) != 1)} {', '.join(map(str, generations))}"


def _verb(items: Sequence[object]) -> str:
    return "was" if len(items) == 1 else "were"


def _in_use(generations: Sequence[int]) -> str:
    return "it is in use" if len(generations) == 1 else "they are in use"
