"""`lookalike attach`: add attributes of the images from a table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.text import aligned, counted, printable

if TYPE_CHECKING:
    from lookalike_indexer.attributes.attach import Attached


@click.command(cls=CollectionCommand)
@collection_option
@click.argument("table", type=click.Path(path_type=Path), metavar="TABLE")
@click.option("--key", required=True, metavar="COLUMN", help="The column of TABLE that has the images' keys.")
@click.option("--name", metavar="NAME", help="The attribute table's name.  [default: the file's, without its suffix]")
@click.option("--columns", metavar="A,B,...", help="Attach these columns only.  [default: all but the key]")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="COLUMN=TYPE",
    help="Read a column as bool, int64, float64, string, timestamp or list: texts with ; between them.  Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def attach(
    collection: str,
    table: Path,
    key: str,
    name: str | None,
    columns: str | None,
    types: tuple[str, ...],
    as_json: bool,
) -> None:
    """Attach the columns of TABLE to the images of the collection in DIR. Embeds nothing.

    TABLE is a file of CSV, Parquet or JSON lines, with a row for each image. The result
    is one new generation. A table that is attached again under the same name replaces
    the one before. A column `label` corrects the labels of the images. Searches filter by
    attributes: see `lookalike search --where`.
    """
    from lookalike_indexer.attributes.attach import attach as attached
    from lookalike_indexer.attributes.table import TableColumns
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing

    chosen = tuple(one.strip() for one in columns.split(",") if one.strip()) if columns else ()
    wanted = TableColumns(key, chosen, dict(map(_type, types)))
    storage = open_storage(collection)
    generations.require_latest(storage)
    with writing(storage):
        latest = generations.require_latest(storage)
        draft, done = attached(storage, latest, table, name or table.stem, wanted, TerminalProgress())
        generation = generations.publish(storage, draft).generation
    if as_json:
        click.echo(json.dumps({"generation": generation, **dataclasses.asdict(done)}))
    else:
        click.echo("\n".join([*summary(done), f"{collection} is at generation {generation}."]))


def _type(text: str) -> tuple[str, str]:
    column, equals, kind = text.rpartition("=")
    if not equals or not column:
        raise click.UsageError(f"--type {text} must be COLUMN=TYPE, such as price=float64.")
    return column, kind


def summary(done: Attached) -> list[str]:
    """Return the summary of the attached table, one line for each fact."""
    lines = []
    if done.table:
        rows = [(one.name, one.type, one.count, ", ".join(one.examples)) for one in done.columns]
        lines.append(aligned(("attribute", "type", "images", "examples"), rows))
        named = f"{counted(done.rows, 'row')} {'names' if done.rows == 1 else 'name'} an image"
        without = f"{counted(done.without, 'image')} {'has' if done.without == 1 else 'have'} no row"
        lines.append(f"attached {done.table}: {named}, {without}")
    if done.relabelled:
        lines.append(f"corrected the labels of {counted(done.relabelled, 'image')}")
    if done.unmatched:
        name = "names" if done.unmatched == 1 else "name"
        rows_left = f"{counted(done.unmatched, 'row')} {name} no image of the collection"
        lines.append(f"{rows_left}, such as {printable(done.example)!r}")
    return lines or ["nothing has changed"]
