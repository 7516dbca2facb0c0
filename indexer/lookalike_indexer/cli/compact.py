"""`lookalike compact`: merge small parts."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.text import counted

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
@click.option(
    "--purge", is_flag=True, help="Write the parts without deleted images, however few.  [default: from 20% on]"
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def compact(collection: str, rows: int, purge: bool, dry_run: bool, as_json: bool) -> None:
    """Merge small parts of the collection in DIR, in all tables, and publish that as a generation.

    Each run of `lookalike index` adds parts, and many small files make every
    command slower. Ids, labels, embeddings, assignments and indexes stay as they
    are. Nothing is embedded again.

    Where a fifth of the images is deleted, or with --purge, all tables and
    indexes are written without these images. They are gone from the disk once
    `lookalike gc DIR --keep 1` has removed the older generations.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.upkeep.compact import compact as merge
    from lookalike_indexer.upkeep.compact import planned
    from lookalike_indexer.upkeep.purge import dead_rows, is_worth_it
    from lookalike_indexer.upkeep.purge import purge as write_without

    storage = open_storage(collection)
    newest = generations.require_latest(storage)
    purged, results = 0, []
    if dry_run:
        generation, done = newest.generation, planned(storage, newest, rows)[1]
        purged = dead_rows(storage, newest) if purge or is_worth_it(storage, newest) else 0
    else:
        with writing(storage):
            draft = generations.require_latest(storage)
            # Report files that a stopped run left before anything is written.
            planned(storage, draft, rows)
            if purge or is_worth_it(storage, draft):
                draft, without = write_without(storage, draft, TerminalProgress())
                purged, results = without.images, without.results
            draft, done = merge(storage, draft, rows, TerminalProgress())
            generation = generations.publish(storage, draft).generation
    if as_json:
        report = {"generation": generation, "dry_run": dry_run, "purged": purged, "results_removed": results}
        click.echo(json.dumps({**report, **dataclasses.asdict(done)}))
        return
    if purged:
        did = "would write" if dry_run else "wrote"
        click.echo(f"{did} all tables without {counted(purged, 'deleted image')}")
    for name in results:
        click.echo(f"removed the result {name}, which names one of these images")
    click.echo("\n".join(summary(done, dry_run)))
    if not dry_run:
        click.echo(f"{collection} is at generation {generation}.")
        if done.merged or purged:
            click.echo(f"To remove the old files, run: lookalike gc {collection} --keep 1")


def summary(done: Compacted, dry_run: bool) -> list[str]:
    """Return the summary of the merge, one line for each fact."""
    if done.merged:
        did = "would merge" if dry_run else "merged"
        lines = [
            f"{did} {counted(done.merged, 'part')} into {done.into:,}: {counted(done.files, 'file')} of "
            f"{done.bytes / 2**20:.1f} MiB into {done.new_files:,}; of {counted(done.parts_before, 'part')} "
            f"{done.parts_after:,} {'remains' if done.parts_after == 1 else 'remain'}"
        ]
    else:
        lines = [f"nothing to merge in {counted(done.parts_before, 'part')}"]
    if done.apart > 1:
        lines.append(
            f"{done.apart:,} small parts stay: no neighboring part has room for them and the same tables, arithmetic, "
            "clusterings and indexes"
        )
    return lines
