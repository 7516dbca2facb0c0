"""`lookalike parts`: list the Parquet files of a table, for other programs."""

from __future__ import annotations

import json

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported


@click.command(cls=CollectionCommand)
@collection_option
@click.argument("table")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def parts(collection: str, table: str, as_json: bool) -> None:
    """Print the Parquet files of TABLE in the newest generation of the collection in DIR, one a line.

    TABLE is images, source, embeddings/SPACE, predictions/MODEL, rejects/MODEL, graphs/SPACE, attributes/NAME or
    clusterings/SPACE/NAME. The folder of a table can also hold files of other generations, so read the files that are
    listed, not all of the folder.
    """
    from lookalike_indexer.collection.reader import CollectionReader

    reader = CollectionReader.open(collection)
    paths = reader.paths(table)
    if as_json:
        click.echo(json.dumps({"generation": reader.manifest.generation, "table": table, "paths": paths}))
    else:
        click.echo("\n".join(paths))
