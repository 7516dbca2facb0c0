"""`lookalike set`: set the collection's default space."""

from __future__ import annotations

import json

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported


@click.command("set", cls=CollectionCommand)
@collection_option
@click.option(
    "--default-space", required=True, metavar="NAME", help="The space to use if a command or query names none."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def set_defaults(collection: str, default_space: str, as_json: bool) -> None:
    """Set the default space of the collection in DIR, and publish a generation.

    Without this command, the first space is the default. A space of a trained
    network replaces the default space of an untrained one.
    """
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.commands import command
    from lookalike_indexer.collection.current import default_index
    from lookalike_indexer.collection.default_space import set_default_space
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing

    storage = open_storage(collection)
    generations.require_latest(storage)
    with writing(storage):
        draft = set_default_space(generations.require_latest(storage), default_space)
        published = generations.publish(storage, draft)
    if as_json:
        click.echo(json.dumps({"generation": published.generation, "default_space": default_space}))
        return
    click.echo(f"{default_space} is now the default space of {collection}.")
    if default_index(published, default_space) is None:
        click.echo(f"It has no index yet; build one with: {command('build', collection, '--space', default_space)}")
    click.echo(f"{collection} is at generation {published.generation}.")
