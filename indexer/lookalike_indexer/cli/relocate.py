"""`lookalike relocate`: change the location of the source."""

from __future__ import annotations

import dataclasses
import json

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported


@click.command(cls=CollectionCommand)
@collection_option
@click.argument("source", type=click.Path(), metavar="NEW_SOURCE")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="N",
    help="Compare the bytes of N images with those that were embedded.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def relocate(collection: str, source: str, sample: int, as_json: bool) -> None:
    """Tell the collection in DIR that its source has moved to NEW_SOURCE. Embeds nothing.

    A sample of the images must hold the same bytes there. Images that are no longer there count as gone.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.sources.open import open_source
    from lookalike_indexer.sources.relocate import relocate as moved
    from lookalike_indexer.text import counted

    storage = open_storage(collection)
    generations.require_latest(storage)
    opened = open_source(source)
    with writing(storage):
        draft, done = moved(storage, generations.require_latest(storage), opened, sample, TerminalProgress())
        generation = generations.publish(storage, draft).generation
    if as_json:
        click.echo(json.dumps({"generation": generation, **dataclasses.asdict(done)}))
        return
    click.echo(f"{collection} has its source in {done.now} now, not in {done.before}.")
    hold = "holds" if done.checked == 1 else "hold"
    checked = f"{counted(done.checked, 'image')} of a sample {hold} the bytes that were embedded"
    click.echo(
        f"{checked}; {done.missing:,} {'is' if done.missing == 1 else 'are'} missing."
        if done.missing
        else f"{checked}."
    )
    click.echo(f"{collection} is at generation {generation}.")
