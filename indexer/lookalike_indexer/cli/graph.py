"""`lookalike graph`: store the nearest neighbors of each image."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    csv_option,
    findings,
    for_programs,
    json_option,
    open_view,
    print_all,
    requested_csv,
    shown,
)
from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.text import counted

if TYPE_CHECKING:
    from lookalike_indexer.graph.graph_stage import GraphReport


@click.command(cls=CollectionCommand)
@collection_option
@click.option("--space", default="", metavar="NAME", help="The embedding space.  [default: the collection's default]")
@click.option("-k", type=click.IntRange(1, 1024), default=16, show_default=True, help="Neighbors of each image.")
@click.option("--exact", is_flag=True, help="Compare each image with each other, whatever index there is.")
@click.option("--metric", type=click.Choice(["cosine", "l2"]), help="[default: that of the index, or cosine]")
@click.option("--index", default="", metavar="NAME", help="The index that finds candidates.  [default: the current]")
@click.option(
    "--list", "keys", multiple=True, metavar="KEY", help="Print the stored neighbors of this image, and make nothing."
)
@csv_option("neighbors")
@json_option
@reported
def graph(collection: str, keys: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Find the k nearest other images of each image, and store their ids and distances in the collection in DIR.

    Principal components or an index find them, or else a comparison with everything; the recall is measured and
    printed. A run that is killed continues where it stopped. When the collection has grown, known images are compared
    with the new ones only. --list KEY, which may be repeated, prints what is stored. `lookalike duplicates`, `leaks`
    and `label-issues` read this graph; `lookalike parts DIR graphs/SPACE` names its files.
    """
    if keys:
        _print_lists(collection, keys, as_json)
        return
    if requested_csv():
        raise click.UsageError("--csv requires --list KEY; add --list KEY.")
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


def _print_lists(collection: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Print the stored neighbors of some images. Raise UsageError for an option that only applies to making a graph."""
    from click.core import ParameterSource

    from lookalike_indexer.experiments.graph_lists import graph_lists

    context = click.get_current_context()
    given = {
        name
        for name in ("exact", "metric", "index")
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if given:
        raise click.UsageError(f"--{min(given)} makes a graph, but --list KEY prints the stored one; give one of them.")
    k = None if context.get_parameter_source("k") is ParameterSource.DEFAULT else context.params["k"]
    view = open_view(collection)
    result = graph_lists(view, keys, context.params["space"], k)
    if as_json:
        click.echo(for_programs(result))
        return
    columns = [*(["image"] if len(keys) > 1 else []), "rank", "distance", "label", "key"]
    table = result.tables["neighbors"]
    print_all(findings(result), shown(table, columns, len(table), result.settings["metric"]))


def as_data(report: GraphReport) -> dict[str, Any]:
    """Return the report as a JSON-compatible dictionary, without file names."""
    entry = dataclasses.asdict(report.entry)
    return {
        **{name: value for name, value in entry.items() if name not in ("neighbors", "parts", "digest")},
        "reason": report.reason,
        "parts": len(report.entry.parts),
        "reused_parts": report.reused,
        "extended": report.extended,
    }


def summary(report: GraphReport) -> list[str]:
    """Return the report as lines of text."""
    entry = report.entry
    nearest = min(entry.k, entry.rows - 1)
    others = " (all others)" if nearest < entry.k else ""
    lines = [
        f"{entry.space}: the {nearest} nearest of each of {counted(entry.rows, 'image')}{others} by "
        f"{NAMES[entry.metric]} distance; {report.reason}."
    ]
    if entry.method != "exact":
        lines.append(f"recall@{entry.k}: {entry.recall:.4f}, measured on {entry.recall_queries} images")
    if report.extended:
        were = "was" if report.extended == 1 else "were"
        lines.append(
            f"{counted(report.extended, 'image')} had neighbors before, and {were} compared with the new images only"
        )
    elif report.reused == len(entry.parts):
        lines.append("it was there already")
    return lines
