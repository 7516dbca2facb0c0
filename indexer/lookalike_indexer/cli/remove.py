"""`lookalike remove`: take clusterings, indexes, results, attributes, graphs, spaces and models away."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported

if TYPE_CHECKING:
    from lookalike_indexer.collection.removal import Removed


@click.command(cls=CollectionCommand)
@collection_option
@click.option("--clustering", "clusterings", multiple=True, metavar="SPACE/NAME", help="A clustering.  Repeatable.")
@click.option("--index", "indexes", multiple=True, metavar="SPACE/NAME", help="An index.  Repeatable.")
@click.option("--result", "results", multiple=True, metavar="KIND/NAME", help="A stored result.  Repeatable.")
@click.option("--attributes", multiple=True, metavar="TABLE", help="An attribute table with its columns.  Repeatable.")
@click.option("--graph", "graphs", multiple=True, metavar="SPACE", help="The graph of a space.  Repeatable.")
@click.option(
    "--space", "spaces", multiple=True, metavar="NAME", help="A space with all that was made of it.  Repeatable."
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model with its spaces.  Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def remove(
    collection: str,
    clusterings: tuple[str, ...],
    indexes: tuple[str, ...],
    results: tuple[str, ...],
    attributes: tuple[str, ...],
    graphs: tuple[str, ...],
    spaces: tuple[str, ...],
    models: tuple[str, ...],
    as_json: bool,
) -> None:
    """Publish a generation of the collection in DIR without the things named.

    Where a default is removed, another one takes its place, and the output says
    which. The files stay until `lookalike gc` removes the older generations.
    """
    from lookalike_indexer.collection import generations, removal
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing

    storage = open_storage(collection)
    generations.require_latest(storage)
    unwanted = removal.Unwanted(clusterings, indexes, results, spaces, models, attributes, graphs)
    with writing(storage):
        draft, done = removal.remove(generations.require_latest(storage), unwanted)
        generation = generations.publish(storage, draft).generation
    if as_json:
        click.echo(json.dumps({"generation": generation, **dataclasses.asdict(done)}))
    else:
        click.echo("\n".join([*summary(done), f"{collection} is at generation {generation}."]))
        click.echo(f"The files go when older generations do: lookalike gc {collection} --keep 1")


def summary(done: Removed) -> list[str]:
    """What was removed, as lines for a person."""
    kinds = [
        ("model", done.models),
        ("space", done.spaces),
        ("clustering", done.clusterings),
        ("index", done.indexes),
        ("result", done.results),
        ("attribute table", done.attributes),
        ("graph of", done.graphs),
    ]
    return [*(f"removed the {kind} {name}" for kind, names in kinds for name in names), *done.notes]
