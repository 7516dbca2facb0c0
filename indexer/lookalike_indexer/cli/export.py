"""`lookalike export`: write the embeddings of a space with their keys, as Parquet or a NumPy array."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import json_option, open_view, space_option
from lookalike_indexer.text import counted


@click.command(cls=CollectionCommand)
@collection_option
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE|FOLDER")
@click.option("--fiftyone", is_flag=True, help="Write a dataset of FiftyOne into a new FOLDER; it copies no image.")
@space_option
@json_option
@reported
def export(collection: str, file: Path, fiftyone: bool, space: str, as_json: bool) -> None:
    """Write the embeddings of the collection in DIR into FILE, a .parquet or a .npy file, for other programs.

    Parquet has the columns id, key, label and embedding. Hugging Face's datasets.Dataset.from_parquet reads it. A .npy
    file has a row for each image, float32; the file NAME.keys.csv beside it has id, key and label of each row.

    With --fiftyone, FOLDER gets labels.json, with the file, label, cluster, prediction and attributes of each image,
    and embeddings.npy. FiftyOne reads it as a FiftyOneImageClassificationDataset.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection.export import exported
    from lookalike_indexer.collection.reader import CollectionReader

    if fiftyone:
        from lookalike_indexer.experiments.fiftyone import export_fiftyone

        written = export_fiftyone(open_view(collection), space, file, TerminalProgress())
        if as_json:
            found = {"space": written.space, "rows": written.images, "dim": written.dim, "files": written.files}
            click.echo(json.dumps(found))
        else:
            read = f"fiftyone.Dataset.from_dir({str(file)!r}, fiftyone.types.FiftyOneImageClassificationDataset)"
            click.echo(f"{counted(written.images, 'image')} in {file}. To read them in Python: {read}")
        return
    reader = CollectionReader.open(collection)
    done = exported(reader, space, file, TerminalProgress())
    if as_json:
        click.echo(json.dumps({"space": done.space, "rows": done.rows, "dim": done.dim, "files": done.files}))
    else:
        click.echo(f"{done.space}: {done.rows:,} embeddings of {done.dim:,} dimensions in {' and '.join(done.files)}")
