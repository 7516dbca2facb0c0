"""`lookalike compact`: merge small parts."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported

if TYPE_CHECKING:
    from lookalike_indexer.upkeep.compact import Compacted


@click.command(cls=CollectionCommand)
@collection_option
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=16_384,
    show_default=True,
    metavar="N",
    help="Merge parts until they have at most N images.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be merged.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def compact(collection: str, rows: int, dry_run: bool, as_json: bool) -> None:
    """Merge small parts of the collection in DIR, in all tables, and publish that as a generation.

    Each run of `lookalike index` adds parts, and many small files make every
    command slower. Ids, labels, embeddings, assignments and indexes stay as they
    are. Nothing is embedded again.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.upkeep.compact import compact as merge
    from lookalike_indexer.upkeep.compact import planned

    storage = open_storage(collection)
    newest = generations.require_latest(storage)
    if dry_run:
        generation, done = newest.generation, planned(storage, newest, rows)[1]
    else:
        with writing(storage):
            draft, done = merge(storage, generations.require_latest(storage), rows, TerminalProgress())
            generation = generations.publish(storage, draft).generation
    if as_json:
        click.echo(json.dumps({"generation": generation, "dry_run": dry_run, **dataclasses.asdict(done)}))
        return
    click.echo("\n".join(summary(done, dry_run)))
    if not dry_run:
        click.echo(f"{collection} is at generation {generation}.")
        if done.merged:
            click.echo(f"The old files go when older generations do: lookalike gc {collection} --keep 1")


def summary(done: Compacted, dry_run: bool) -> list[str]:
    """What was merged, as lines for a person."""
    if done.merged:
        did = "would merge" if dry_run else "merged"
        lines = [
            f"{did} {done.merged:,} parts into {done.into:,}: {done.files:,} files of {done.bytes / 2**20:.1f} MiB "
            f"into {done.new_files:,}; of {done.parts_before:,} parts {done.parts_after:,} remain"
        ]
    else:
        lines = [f"nothing to merge in {done.parts_before:,} parts"]
    if done.apart > 1:
        lines.append(
            f"{done.apart:,} small parts stay: no neighbour of theirs has the same tables, arithmetic, clusterings and "
            "indexes, and room for them"
        )
    return lines
