"""`lookalike remove`: remove clusterings, indexes, results, attributes, graphs, spaces and models."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.text import counted

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
    "--space",
    "spaces",
    multiple=True,
    metavar="NAME",
    help="A space with its clusterings, indexes and results.  Repeatable.",
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model with its spaces.  Repeatable.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="KEY",
    help="An image; later runs do not add it again.  Repeatable.",
)
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
    images: tuple[str, ...],
    as_json: bool,
) -> None:
    """Publish a generation of the collection in DIR without the named items.

    If a default is removed, another one replaces it, and the output names it.
    The files stay until `lookalike gc` removes the older generations. Images
    are deleted: no command shows them any more. `lookalike compact --purge`
    removes their rows.
    """
    from lookalike_indexer.collection import generations, removal
    from lookalike_indexer.collection.commands import purge_commands
    from lookalike_indexer.collection.deletion import without_images
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing

    storage = open_storage(collection)
    generations.require_latest(storage)
    unwanted = removal.Unwanted(clusterings, indexes, results, spaces, models, attributes, graphs)
    done, deleted = removal.Removed([], [], [], [], [], [], [], []), None
    with writing(storage):
        draft = generations.require_latest(storage)
        if not images or any(dataclasses.astuple(unwanted)):
            draft, done = removal.remove(draft, unwanted)
        if images:
            draft, deleted = without_images(storage, draft, keys=images)
        generation = generations.publish(storage, draft).generation
    if as_json:
        gone = {"images": [] if deleted is None else deleted.ids, "unknown": 0 if deleted is None else deleted.unknown}
        click.echo(json.dumps({"generation": generation, **dataclasses.asdict(done), **gone}))
        return
    lines = summary(done)
    if deleted is not None:
        lines.append(f"deleted {counted(len(deleted.ids), 'image')}")
        if deleted.unknown:
            lines.append(f"{counted(deleted.unknown, 'key')} {'names' if deleted.unknown == 1 else 'name'} no image")
    click.echo("\n".join([*lines, f"{collection} is at generation {generation}."]))
    if deleted is not None and deleted.ids:
        click.echo(f"To remove their vectors from the disk, run: {purge_commands(collection)}")
    else:
        click.echo(f"To remove the files, run: lookalike gc {collection} --keep 1")


def summary(done: Removed) -> list[str]:
    """Return the summary of the removal, one line for each fact."""
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
