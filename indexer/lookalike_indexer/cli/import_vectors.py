"""`lookalike import`: embeddings that people already have, as a space that can be searched."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import json_option

if TYPE_CHECKING:
    from lookalike_indexer.collection.spec import Metric


@click.command(name="import")
@click.argument("vectors", type=click.Path(path_type=Path), metavar="VECTORS")
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key of each row: a line each, or CSV with the columns key and label.  [default: VECTORS has them]",
)
@click.option("--space", required=True, metavar="NAME", help="The name of the new space.")
@click.option("--metric", type=click.Choice(["cosine", "l2"]), default="cosine", show_default=True)
@collection_option
@json_option
@reported
def import_vectors(
    vectors: Path, keys: Path | None, space: str, metric: Metric, collection: str, as_json: bool
) -> None:
    """Make the vectors in VECTORS, a .npy, .parquet or .arrow file, a space of a collection, and build its index.

    In a collection that exists, each key is that of an image. Otherwise a new collection is made, whose images have no
    picture. Nobody knows the network, so pictures cannot be asked about in this space: ask with vectors, keys or ids.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.default_space import default_note
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.imported.import_stage import import_vectors as run
    from lookalike_indexer.imported.vectors import given_vectors
    from lookalike_indexer.indexing.build_stage import run_build
    from lookalike_indexer.indexing.settings import BuildSettings

    storage, progress = open_storage(collection), TerminalProgress()
    with writing(storage):
        before = generations.latest(storage)
        scratch = storage.scratch / f".tmp-{secrets.token_hex(4)}-vectors.npy"
        with given_vectors(vectors, keys, scratch) as given:
            draft, done = run(storage, before, vectors, space, given, progress)
        draft, report = run_build(storage, draft, BuildSettings(space=space, metric=metric), progress)
        published = generations.publish(storage, draft)
    if as_json:
        told = {"space": done.space, "images": done.rows, "dim": done.dim, "without": done.without}
        click.echo(
            json.dumps({**told, "index": report.entry.factory, "metric": metric, "generation": published.generation})
        )
        return
    click.echo(f"{space}: {done.rows:,} vectors of {done.dim:,} dimensions; index {report.entry.factory}, {metric}")
    if done.without:
        click.echo(f"{done.without:,} images have no vector")
    if note := default_note(before, published, collection):
        click.echo(note)
    click.echo(f"{collection} is at generation {published.generation}.")
