"""`lookalike watch`: keep a collection up to date with its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.cli.collection_command import collection_option
from lookalike_indexer.cli.embed_options import embed_options, embed_settings
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.sync_options import with_model

if TYPE_CHECKING:
    from lookalike_indexer.collection.manifest import Manifest
    from lookalike_indexer.upkeep.follow import SyncResult


@click.command()
@click.argument("source", type=click.Path())
@collection_option
@embed_options
@click.option("--allow-deletions", is_flag=True, help="Delete more than half of the images at once if they are gone.")
@click.option("--poll", is_flag=True, help="Poll all files periodically; required for network mounts.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each batch.")
@reported
def watch(source: str, collection: str, allow_deletions: bool, poll: bool, as_json: bool, **options: Any) -> None:
    """Sync the collection with the folder SOURCE, now and whenever files change, until Ctrl-C.

    Changes are applied in batches, each as `lookalike index --sync` does.
    Failures are reported and retried. A running server takes up each batch as
    one new generation.
    """
    import dataclasses

    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.errors import UsageError
    from lookalike_indexer.sources.sync import Sync, summary_line
    from lookalike_indexer.upkeep.watching import changes_of, keep_following

    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise click.ClickException("Watching a folder needs watchfiles: pip install 'lookalike[watch]'") from error
    storage = open_storage(collection)
    newest = generations.require_latest(storage)
    if Path(source).exists() and not Path(source).is_dir():
        raise UsageError(f"{source} is not a folder; run lookalike index --sync when it has changed.")
    settings = with_model(embed_settings(source=source, **options), newest)

    def done(published: Manifest, followed: SyncResult) -> None:
        changes = followed.changes
        if as_json:
            click.echo(json.dumps({"generation": published.generation, "sync": dataclasses.asdict(changes)}))
        else:
            click.echo(f"{summary_line(changes)}; {collection} is at generation {published.generation}.")

    def failed(problem: str) -> None:
        click.echo(f"Nothing was changed; the watch retries: {problem}", err=True)

    changes = changes_of(Path(source), Path(collection), poll)
    click.echo(f"Watching {source} for {collection}; end with Ctrl-C.", err=True)
    try:
        keep_following(storage, settings, Sync(allow_deletions), changes, TerminalProgress(), done, failed)
    except KeyboardInterrupt:
        click.echo(
            f"Stopped; {collection} is at generation {generations.require_latest(storage).generation}.", err=True
        )
