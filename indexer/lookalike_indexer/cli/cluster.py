"""`lookalike cluster`: group the images."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.cli.cluster_options import cluster_options, cluster_settings
from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.machines_option import joined_machines, ray_option
from lookalike_indexer.text import counted

if TYPE_CHECKING:
    from lookalike_indexer.clustering.cluster_stage import ClusterReport
    from lookalike_indexer.collection.manifest import ClusteringEntry


@click.command(cls=CollectionCommand)
@collection_option
@click.option(
    "--space",
    default="",
    metavar="NAME|all",
    help="The embedding space, or all of them.  [default: the collection's default]",
)
@click.option(
    "--name", metavar="NAME", help="The clustering's name.  [default: auto, or k and the number of --clusters]"
)
@click.option("--metric", type=click.Choice(["cosine", "l2"]), default="cosine", show_default=True)
@cluster_options
@click.option("--seed", type=click.IntRange(min=0), default=1234, show_default=True, help="Seed of all random choices.")
@ray_option
@click.option("--gpus", default="", metavar="0,1|all", help="GPUs to use.  [default: none, the processor]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@reported
def cluster(collection: str, ray: str | None, as_json: bool, **options: Any) -> None:
    """Group the images of the collection in DIR.

    Each image, stored or sent as a query, belongs to the nearest
    centroid. The strategy says how centroids are found: by k-means, by k-means
    on the unit sphere (spherical), by halving the group with the most inertia
    until there are K (bisecting), by Ward's method on a sample of at most 4,000
    images (agglomerative), or by k-means of whitened principal components
    (whitened). Use lookalike compare to find the best strategy.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.clustering.choice import check_clusters
    from lookalike_indexer.clustering.cluster_stage import run_cluster
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing

    settings, progress = cluster_settings(**options), TerminalProgress()
    storage = open_storage(collection)
    generations.require_latest(storage)
    machines = joined_machines(ray, options)
    with writing(storage):
        draft = generations.require_latest(storage)
        every = settings.space == "all" and "all" not in draft.spaces
        reports = []
        spaces = sorted(draft.spaces) if every else [settings.space]
        # Check all spaces first, so that an error appears before any clustering starts.
        for space in spaces if every else []:
            check_clusters(settings.clusters, draft.spaces[space].rows, space)
        for space in spaces:
            draft, report = run_cluster(storage, draft, dataclasses.replace(settings, space=space), progress, machines)
            reports.append(report)
        generation = generations.publish(storage, draft).generation
    if as_json:
        data = [as_data(report, generation) for report in reports]
        click.echo(json.dumps(data if every else data[0]))
    else:
        click.echo("\n".join([*map(summary, reports), f"{collection} is at generation {generation}."]))


def as_data(report: ClusterReport, generation: int) -> dict[str, Any]:
    """Return the report as a JSON-compatible dictionary."""
    entry = report.entry
    return {
        "clustering": f"{entry.space}/{entry.name}",
        "k": entry.k,
        "reason": report.reason,
        "metric": entry.metric,
        "strategy": entry.strategy,
        "spherical": entry.strategy == "spherical",
        "images": entry.rows,
        "trained_on": entry.trained_on,
        "restarts": entry.restarts,
        "inertia": entry.inertia,
        "sizes": report.sizes.tolist(),
        "empty": report.empty,
        "reused_files": report.reused,
        "generation": generation,
    }


def summary(report: ClusterReport) -> str:
    """Return the report as text."""
    entry, sizes = report.entry, report.sizes
    groups = "1 cluster" if entry.k == 1 else f"{entry.k} clusters"
    empty = f", {report.empty} empty" if report.empty else ""
    by = "" if entry.strategy == "kmeans" else f", strategy {entry.strategy}"
    return "\n".join(
        [
            f"{entry.space}/{entry.name}: {entry.rows} images in {groups} ({report.reason}){by}",
            f"sizes: {sizes.min()} to {sizes.max()}, mean {sizes.mean():.1f}{empty}",
            f"inertia: {_inertia(entry)}",
        ]
    )


def _inertia(entry: ClusteringEntry) -> str:
    """Return a description of the inertia and of the steps or restarts that reached it."""
    reached = f"{entry.inertia[-1]:.6g} on {counted(entry.trained_on, 'image')}"
    if entry.strategy == "agglomerative":
        return reached
    if entry.strategy == "bisecting":
        return f"{reached}, each halving the best of {entry.restarts} starts"
    fell = f"from {entry.inertia[0]:.6g} to {entry.inertia[-1]:.6g} in {counted(len(entry.inertia), 'step')}"
    where = " of whitened embeddings" if entry.strategy == "whitened" else ""
    return f"{fell}, on {entry.trained_on} images{where}, the best of {entry.restarts} starts"
