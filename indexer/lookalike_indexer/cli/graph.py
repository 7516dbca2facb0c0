"""`lookalike graph`: the nearest others of each image, as a table."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.collection.metrics import NAMES

if TYPE_CHECKING:
    from lookalike_indexer.graph.graph_stage import GraphReport


@click.command(cls=CollectionCommand)
@collection_option
@click.option("--space", default="", metavar="NAME", help="The embedding space.  [default: the collection's default]")
@click.option("-k", type=click.IntRange(1, 1024), default=16, show_default=True, help="Neighbors of each image.")
@click.option("--exact", is_flag=True, help="Compare each image with each other, whatever index there is.")
@click.option("--metric", type=click.Choice(["cosine", "l2"]), help="[default: that of the index, or cosine]")
@click.option("--index", default="", metavar="NAME", help="The index that finds candidates.  [default: the current]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def graph(collection: str, as_json: bool, **options: Any) -> None:
    """Find the k nearest other images of each image, and store their ids and distances in the collection in DIR.

    The index finds them, or else a comparison with everything; the recall of the index is measured and printed. A run
    that is killed continues where it stopped. When the collection has grown, known images are compared with the new
    ones only. `lookalike duplicates`, `leaks` and `label-issues` read this graph; `lookalike parts DIR graphs/SPACE`
    names its files.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.graph.graph_stage import run_graph
    from lookalike_indexer.graph.settings import GraphSettings

    settings = GraphSettings(**options)
    storage = open_storage(collection)
    generations.require_latest(storage)
    with writing(storage):
        draft, report = run_graph(storage, generations.require_latest(storage), settings, TerminalProgress())
        generation = generations.publish(storage, draft).generation
    if as_json:
        click.echo(json.dumps({"generation": generation, **as_data(report)}))
    else:
        click.echo("\n".join([*summary(report), f"{collection} is at generation {generation}."]))


def as_data(report: GraphReport) -> dict[str, Any]:
    """The report for machines, without the names of files."""
    entry = dataclasses.asdict(report.entry)
    return {
        **{name: value for name, value in entry.items() if name not in ("neighbors", "parts", "digest")},
        "reason": report.reason,
        "parts": len(report.entry.parts),
        "reused_parts": report.reused,
        "extended": report.extended,
    }


def summary(report: GraphReport) -> list[str]:
    """The report for people."""
    entry = report.entry
    lines = [
        f"{entry.space}: the {entry.k} nearest of each of {entry.rows:,} images by {NAMES[entry.metric]} distance; "
        f"{report.reason}."
    ]
    if entry.method != "exact":
        lines.append(f"recall@{entry.k}: {entry.recall:.4f}, measured on {entry.recall_queries} images")
    if report.extended:
        lines.append(f"{report.extended:,} images had neighbors before, and were compared with the new images only")
    elif report.reused == len(entry.parts):
        lines.append("it was there already")
    return lines
