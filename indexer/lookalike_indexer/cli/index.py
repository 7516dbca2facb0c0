"""`lookalike index`: embed, cluster and build in one go, published as one generation."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from lookalike_indexer.cli.build_options import build_options, build_settings
from lookalike_indexer.cli.cluster_options import cluster_options, cluster_settings
from lookalike_indexer.cli.embed_options import embed_options, embed_settings
from lookalike_indexer.cli.errors import reported


@click.command()
@click.argument("photos", type=click.Path())
@click.option("--collection", required=True, type=click.Path(file_okay=False), help="The collection's folder.")
@embed_options
@click.option("--metric", type=click.Choice(["cosine", "l2"]), default="cosine", show_default=True)
@cluster_options
@build_options
@click.option("--seed", type=click.IntRange(min=0), default=1234, show_default=True, help="Decides all that is random.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@reported
def index(photos: str, collection: str, as_json: bool, **options: Any) -> None:
    """Turn PHOTOS into a collection: embed, cluster and build the index.

    PHOTOS is a folder of pictures, a text file with one path a line ("-" for
    standard input), a Parquet file of key and image or of Hugging Face, a tar
    or zip file, or a folder of these. Run again, it embeds only what is new,
    and goes on where a killed run stopped; a server takes up the result as one
    new generation.
    """
    from lookalike_indexer.cli import build, cluster, embed
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.clustering.stage import run_cluster
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.collection.storage import Storage
    from lookalike_indexer.embedding.defaults import settled
    from lookalike_indexer.embedding.stage import run_embed
    from lookalike_indexer.indexing.stage import run_build

    # All settings are made before any work, so that a mistake in the last option costs nothing.
    embedding = embed_settings(source=photos, **options)
    storage, progress = Storage(collection), TerminalProgress()
    with writing(storage):
        latest = generations.latest(storage)
        embedding = settled(embedding, latest)
        options["space"] = embedding.space_name(None)
        del options["name"]  # the model's; the clustering is named auto, or by --clusters
        clustering, building = cluster_settings(**options), build_settings(**options)
        draft, embedded = run_embed(storage, latest, embedding, progress)
        draft, clustered = run_cluster(storage, draft, clustering, progress)
        draft, built = run_build(storage, draft, building, progress)
        generation = generations.publish(storage, draft).generation
    if as_json:
        reports = {
            "generation": generation,
            "embed": dataclasses.asdict(embedded),
            "cluster": cluster.as_data(clustered, generation),
            "build": build.as_data(built, generation),
        }
        click.echo(json.dumps(reports))
        return
    click.echo("\n".join(embed.told(embedded)))
    click.echo(cluster.summary(clustered))
    click.echo(build.summary(built))
    click.echo(f"{collection} is at generation {generation}; serve it with: lookalike serve {collection}")
