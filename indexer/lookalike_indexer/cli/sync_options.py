"""Options and output of the commands that bring a collection up to date with its source."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from lookalike_indexer.collection.manifest import Manifest
    from lookalike_indexer.embedding.settings import EmbedSettings
    from lookalike_indexer.sources.sync import Sync
    from lookalike_indexer.upkeep.follow import SyncResult

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = [
    click.option("--sync", is_flag=True, help="Make the collection what SOURCE is now: also change and delete images."),
    click.option("--dry-run", is_flag=True, help="With --sync: only print what would be done."),
    click.option(
        "--allow-deletions", is_flag=True, help="With --sync: delete more than half of the images if they are gone."
    ),
    click.option(
        "--undelete",
        multiple=True,
        metavar="KEY",
        help="With --sync: take an image that a person deleted from SOURCE again.  Repeatable.",
    ),
]


def sync_options(command: F) -> F:
    """Add the options to a command, which passes them to `sync_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def sync_settings(sync: bool, dry_run: bool, allow_deletions: bool, undelete: tuple[str, ...]) -> Sync | None:
    """Return the settings of a run with --sync, None without. Raise UsageError for an option that needs --sync."""
    from lookalike_indexer.sources.sync import Sync

    given = {"--dry-run": dry_run, "--allow-deletions": allow_deletions, "--undelete": bool(undelete)}
    if not sync:
        for option, is_given in given.items():
            if is_given:
                raise click.UsageError(f"{option} requires --sync; add --sync.")
        return None
    return Sync(allow_deletions, frozenset(undelete), dry_run)


def with_model(settings: EmbedSettings, manifest: Manifest | None) -> EmbedSettings:
    """Return the settings, with the model of the default space if they name none."""
    if manifest is None or settings.name or settings.model or manifest.default_space not in manifest.spaces:
        return settings
    return dataclasses.replace(settings, name=manifest.spaces[manifest.default_space].model)


def print_sync_summary(done: SyncResult, published: Manifest, collection: str, as_json: bool) -> None:
    """Print the summary of a run."""
    from lookalike_indexer.cli.embed import summary
    from lookalike_indexer.sources.sync import summary_line
    from lookalike_indexer.upkeep.compact import compact_note

    if as_json:
        reports = {
            "generation": published.generation,
            "sync": dataclasses.asdict(done.changes),
            "embed": [dataclasses.asdict(report) for report in done.embedded],
            "grown": dataclasses.asdict(done.grown),
        }
        click.echo(json.dumps(reports))
        return
    for report in done.embedded:
        for line in summary(report, collection):
            click.echo(line)
    for kind, every in (("clustering", done.grown.clusterings), ("index", done.grown.indexes)):
        for name, what in every.items():
            beside = "; new images are searched separately" if what == "kept" else ""
            click.echo(f"The {kind} {name} was {what}{beside}.")
    note = compact_note(published, collection)
    if note:
        click.echo(note)
    click.echo(f"{summary_line(done.changes)}; {collection} is at generation {published.generation}.")
