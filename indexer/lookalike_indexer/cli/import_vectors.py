"""`lookalike import`: import existing embeddings as a searchable space."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lookalike_indexer.cli.collection_command import collection_option
from lookalike_indexer.cli.embed import left_out_lines
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lookalike_indexer.collection.spec import Metric
    from lookalike_indexer.imported.import_stage import Imported


@click.command(name="import")
@click.argument("vectors", type=click.Path(path_type=Path), metavar="VECTORS")
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key of each row: a line each, or CSV with the columns key and label.  [default: VECTORS has them]",
)
@click.option(
    "--images",
    type=click.Path(),
    metavar="SOURCE",
    help="The images of a new collection: a folder, list, Parquet file or archive, as `lookalike index` takes it.  "
    "[default: none]",
)
@click.option("--space", required=True, metavar="NAME", help="The name of the new space.")
@click.option("--metric", type=click.Choice(["cosine", "l2"]), default="cosine", show_default=True)
@collection_option
@json_option
@reported
def import_vectors(
    vectors: Path,
    keys: Path | None,
    images: str | None,
    space: str,
    metric: Metric,
    collection: str,
    as_json: bool,
) -> None:
    """Make the vectors in VECTORS, a .npy, .parquet or .arrow file, a space of a collection, and build its index.

    In a collection that exists, each key is that of an image. Otherwise a new collection is made. Its images are those
    of --images, which the keys name; without that option they have no file. The network is unknown, so an image file
    is no query in this space: search with vectors, keys or ids.
    """
    from lookalike_indexer.imported.vectors import check_files
    from lookalike_indexer.sources.open import check_early

    # Before the imports that take seconds.
    check_files(vectors, keys)
    if images is not None:
        check_early(images)

    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.default_space import default_note
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.imported.import_stage import import_vectors as run
    from lookalike_indexer.imported.vectors import input_vectors
    from lookalike_indexer.indexing.build_stage import run_build
    from lookalike_indexer.indexing.settings import BuildSettings
    from lookalike_indexer.sources.open import open_source

    storage, progress = open_storage(collection), TerminalProgress()
    source = None if images is None else open_source(images)
    with writing(storage):
        before = generations.latest(storage)
        scratch = storage.scratch / f".tmp-{secrets.token_hex(4)}-vectors.npy"
        with input_vectors(vectors, keys, scratch) as given:
            draft, done = run(storage, before, vectors, space, given, progress, source)
        draft, report = run_build(storage, draft, BuildSettings(space=space, metric=metric), progress)
        published = generations.publish(storage, draft)
    if as_json:
        told = {name: getattr(done, name) for name in ("space", "dim", "without", "unmatched", "rejected")}
        if images is not None:
            told |= {name: getattr(done, name) for name in ("unreadable", "left_out", "unreadable_folders")}
        told |= {"images": done.rows, "index": report.entry.factory, "metric": metric}
        click.echo(json.dumps({**told, "generation": published.generation}))
        return
    click.echo(f"{space}: {done.rows:,} vectors of {done.dim:,} dimensions; index {report.entry.factory}, {metric}")
    for line in [*_unmatched(done, collection), *left_out_lines(done.left_out, done.unreadable_folders)]:
        click.echo(line)
    if note := default_note(before, published, collection):
        click.echo(note)
    click.echo(f"{collection} is at generation {published.generation}.")


def _unmatched(done: Imported, collection: str) -> Iterator[str]:
    """Yield lines about images without a vector and vectors that are not imported."""
    from lookalike_indexer.collection.commands import command
    from lookalike_indexer.text import counted

    if done.without:
        have = "has" if done.without == 1 else "have"
        yield f"{counted(done.without, 'image')} {have} no vector, such as {done.without_example!r}"
    if done.unmatched:
        have, are = ("has", "is") if done.unmatched == 1 else ("have", "are")
        yield (
            f"{counted(done.unmatched, 'vector')} {have} no image in the source, such as {done.unmatched_example!r}, "
            f"and {are} left out"
        )
    if done.unreadable:
        yield (
            f"{counted(done.unreadable, 'image')} of the source, {done.rejected:,} of them with a vector, cannot be "
            f"read: {command('rejects', collection)} lists them with the reasons"
        )
