"""`lookalike export`: the embeddings of a space with their keys, as Parquet or as an array of numpy."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import json_option, space_option


@click.command(cls=CollectionCommand)
@collection_option
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@space_option
@json_option
@reported
def export(collection: str, file: Path, space: str, as_json: bool) -> None:
    """Write the embeddings of the collection in DIR into FILE, a .parquet or a .npy file, for other programs.

    Parquet has the columns id, key, label and embedding. A .npy file has a row for each image, float32; the file
    NAME.keys.csv beside it has id, key and label of each row.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection.export import exported
    from lookalike_indexer.collection.reader import CollectionReader

    reader = CollectionReader.open(collection)
    done = exported(reader, space, file, TerminalProgress())
    if as_json:
        click.echo(json.dumps({"space": done.space, "rows": done.rows, "dim": done.dim, "files": done.files}))
    else:
        click.echo(f"{done.space}: {done.rows:,} embeddings of {done.dim:,} dimensions in {' and '.join(done.files)}")
