"""`lookalike index`: embed, cluster and build an index, published as one generation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from lookalike_indexer.cli.build_options import build_options, build_settings
from lookalike_indexer.cli.cluster_options import cluster_options, cluster_settings
from lookalike_indexer.cli.collection_command import collection_option
from lookalike_indexer.cli.embed_options import check_source, embed_options, embed_settings
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.machines_option import joined_machines, ray_option
from lookalike_indexer.cli.sync_options import print_sync_summary, sync_options, sync_settings, with_model
from lookalike_indexer.errors import IndexerError

# Options that affect a clustering or an index, apart from those that all stages share.
CLUSTERING = ("clusters", "strategy", "spherical", "iterations", "restarts", "points_per_centroid")
BUILDING = ("index", "nlist", "target_recall", "max_memory", "train_size")


@click.command()
@click.argument("source", type=click.Path())
@collection_option
@embed_options
@ray_option
@click.option("--metric", type=click.Choice(["cosine", "l2"]), default="cosine", show_default=True)
@cluster_options
@build_options
@click.option("--seed", type=click.IntRange(min=0), default=1234, show_default=True, help="Seed of all random choices.")
@click.option(
    "--renew/--no-renew",
    default=True,
    show_default=True,
    help="Make all other clusterings and indexes again, too, when the collection has grown.",
)
@sync_options
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@reported
def index(
    source: str,
    collection: str,
    ray: str | None,
    renew: bool,
    sync: bool,
    dry_run: bool,
    allow_deletions: bool,
    undelete: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Turn SOURCE into a collection: embed, cluster and build the index.

    SOURCE is a folder of images, a text file with one path a line ("-" for
    standard input), a Parquet file of key and image or of Hugging Face, a tar
    or zip file, or a folder of these. Run again, it embeds only what is new,
    and goes on where a killed run stopped; a server takes up the result as one
    new generation.

    With --sync the collection becomes what SOURCE is now: images whose bytes
    changed are embedded again, those that are gone are deleted, and clusterings
    and indexes are extended instead of made again.

    Options that a later run leaves out are those that the current clustering
    and the current index were made with. Every other clustering and index is
    made again with its own options.
    """
    check_source(source, collection)

    from lookalike_indexer.cli import build, cluster, embed
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.clustering.choice import check_clusters
    from lookalike_indexer.clustering.cluster_stage import run_cluster
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.default_space import default_note
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.embedding.defaults import resolve_defaults
    from lookalike_indexer.embedding.embed_stage import preview_changes, run_embed
    from lookalike_indexer.indexing.build_stage import run_build
    from lookalike_indexer.indexing.early_checks import check_build
    from lookalike_indexer.sources.sync import summary_line
    from lookalike_indexer.upkeep.compact import compact_note
    from lookalike_indexer.upkeep.follow import embed_all, follow
    from lookalike_indexer.upkeep.renew import recorded_clustering, recorded_index
    from lookalike_indexer.upkeep.renew import renew as renew_all

    # Create all settings before any work, so that an invalid option costs no time.
    machines = joined_machines(ray, options)
    embedding = embed_settings(source=source, machines=machines, **options)
    wanted = sync_settings(sync, dry_run, allow_deletions, undelete)
    storage, progress = open_storage(collection), TerminalProgress()
    if wanted is not None and wanted.dry_run:
        newest = generations.require_latest(storage)
        changes = preview_changes(storage, newest, with_model(embedding, newest), wanted, progress)
        click.echo(
            json.dumps({"dry_run": True, "sync": dataclasses.asdict(changes)}) if as_json else summary_line(changes)
        )
        return
    with writing(storage):
        latest = generations.latest(storage)
        embedding = resolve_defaults(with_model(embedding, latest) if sync else embedding, latest)
        options["space"] = embedding.space_name(None)
        del options["name"]  # the model's name; the clustering's is auto, or from --clusters
        clustering, building = cluster_settings(**options), build_settings(**options)
        space = options["space"]
        if not _has_any(*CLUSTERING, "metric", "seed"):
            clustering = recorded_clustering(latest, space, clustering.gpus) or clustering
        if not _has_any(*BUILDING, "metric", "seed"):
            building = recorded_index(latest, space, building.gpus) or building

        def check(name: str, images: int, dim: int) -> None:
            if name == space:
                check_clusters(clustering.clusters, images, name)
                check_build(building, images, dim)

        made = bool(latest and recorded_clustering(latest, space) and recorded_index(latest, space))
        if (
            wanted is not None
            and latest is not None
            and made
            and not _has_any(*CLUSTERING, *BUILDING, "metric", "seed")
        ):
            draft, followed = follow(storage, latest, embedding, wanted, progress, clustering.gpus, machines)
            published = generations.publish(storage, draft)
            print_sync_summary(followed, published, collection, as_json)
            return
        progress.announce("Stage 1 of 3: embedding.")
        if wanted is None:
            draft, embedded = run_embed(storage, latest, embedding, progress, check, machines=machines)
        else:
            draft, (embedded, *_) = embed_all(storage, latest, embedding, wanted, progress, check, machines)
        with _resume_hint():
            progress.announce("Stage 2 of 3: clustering.")
            draft, clustered = run_cluster(storage, draft, clustering, progress, machines)
            progress.announce("Stage 3 of 3: building the index.")
            draft, built = run_build(storage, draft, building, progress, machines)
            draft, renewed = renew_all(storage, draft, progress, clustering.gpus, unusable_only=not renew)
        published = generations.publish(storage, draft)
    generation = published.generation
    if as_json:
        reports = {
            "generation": generation,
            "embed": dataclasses.asdict(embedded),
            "cluster": cluster.as_data(clustered, generation),
            "build": build.as_data(built, generation),
            "renewed": {
                "clusterings": [cluster.as_data(report, generation) for report in renewed.clusterings],
                "indexes": [build.as_data(report, generation) for report in renewed.indexes],
            },
        }
        click.echo(json.dumps(reports))
        return
    click.echo("\n".join(embed.summary(embedded, collection)))
    click.echo(cluster.summary(clustered))
    click.echo(build.summary(built))
    for one in renewed.clusterings:
        click.echo(cluster.summary(one))
    for index_report in renewed.indexes:
        click.echo(build.summary(index_report))
    for note in (default_note(latest, published, collection), compact_note(published, collection)):
        if note:
            click.echo(note)
    click.echo(f"{collection} is at generation {generation}; serve it with: lookalike serve {collection}")


def _has_any(*names: str) -> bool:
    """Return whether the user gave one of some options."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is not ParameterSource.DEFAULT for name in names)


@contextmanager
def _resume_hint() -> Iterator[None]:
    """Add to a later error that the embeddings are kept, and how to continue."""
    try:
        yield
    except IndexerError as error:
        message = f"{error} The embeddings are kept: run the same command with other options, and it goes on from them."
        raise type(error)(message) from error
