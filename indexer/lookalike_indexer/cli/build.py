"""`lookalike build`: build the search index."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.cli.build_options import build_options, build_settings
from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported

if TYPE_CHECKING:
    from lookalike_indexer.collection.manifest import Candidate, IndexEntry
    from lookalike_indexer.indexing.build_stage import BuildReport

# Means all spaces, unless a space has this name.
_ALL = "all"


@click.command(cls=CollectionCommand)
@collection_option
@click.option(
    "--space", default="", metavar="NAME|all", help="The embedding space, or all.  [default: the collection's default]"
)
@click.option("--metric", type=click.Choice(["cosine", "l2"]), default="cosine", show_default=True)
@click.option("--name", default="main", show_default=True, metavar="NAME", help="The index's name.")
@build_options
@click.option("--seed", type=click.IntRange(min=0), default=1234, show_default=True, help="Seed of all random choices.")
@click.option("--gpus", default="", metavar="0,1|all", help="GPUs to train on.  [default: none, the processor]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@reported
def build(collection: str, as_json: bool, **options: Any) -> None:
    """Build the search index of the collection in DIR and measure its recall.

    With `--space all`, each space gets an index, and all become one generation.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.default_space import default_note
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.indexing.build_stage import run_build
    from lookalike_indexer.indexing.early_checks import check_build

    settings = build_settings(**options)
    storage, progress = open_storage(collection), TerminalProgress()
    generations.require_latest(storage)
    with writing(storage):
        latest = draft = generations.require_latest(storage)
        is_all = settings.space == _ALL and _ALL not in latest.spaces
        spaces = sorted(latest.spaces) if is_all else [settings.space]
        if is_all:
            for space in latest.spaces.values():
                check_build(settings, space.rows, space.dim)
        reports = []
        for space_name in spaces:
            draft, report = run_build(storage, draft, dataclasses.replace(settings, space=space_name), progress)
            reports.append(report)
        published = generations.publish(storage, draft)
    if as_json:
        found = [as_data(report, published.generation) for report in reports]
        click.echo(json.dumps({"generation": published.generation, "indexes": found} if is_all else found[0]))
        return
    for report in reports:
        click.echo(summary(report))
    if note := default_note(latest, published, collection):
        click.echo(note)
    click.echo(f"{collection} is at generation {published.generation}.")


def as_data(report: BuildReport, generation: int) -> dict[str, Any]:
    """Return the report as a JSON-compatible dictionary."""
    entry = report.entry
    return {
        "space": entry.space,
        "name": entry.name,
        "index": entry.factory,
        "reason": report.reason,
        "metric": entry.metric,
        "images": entry.rows,
        "bytes": report.bytes,
        "nlist": entry.nlist,
        "default_nprobe": entry.default_nprobe,
        "recall": [{"k": each.k, "nprobe": each.nprobe, "recall": each.recall} for each in entry.recall],
        "recall_queries": entry.recall_queries,
        "trained_on": entry.trained_on,
        "candidates": [dataclasses.asdict(candidate) for candidate in entry.candidates],
        "sampled": entry.sampled,
        "reused": report.reused,
        "generation": generation,
    }


def summary(report: BuildReport) -> str:
    """Return the report as text, with the recall by nprobe as a table."""
    from lookalike_indexer.indexing.search_time_model import RULE

    entry = report.entry
    lines = [
        f"{entry.space}/{entry.name}: {entry.factory}, {entry.metric}, {entry.rows} images, "
        f"{report.bytes / 2**20:.1f} MiB ({report.reason})"
    ]
    if entry.candidates:
        lines.append(f"kinds tried on {entry.sampled} images, queries a second of one thread in batches of 64:")
        lines += trial_lines(entry.candidates, entry.rows)
        lines.append(f"  the queries/s of {entry.rows} images are {RULE}")
    if entry.recall_queries:
        lines.append(f"recall@k on {entry.recall_queries} queries that are stored images:")
        lines += ladders(entry)
    elif entry.recall:
        lines.append("recall: 1, each search is exact")
    return "\n".join(lines)


def ladders(entry: IndexEntry) -> list[str]:
    """Return the recall table: a row for each nprobe, a column for each k. "-" means that recall no longer rose."""
    ks = sorted({point.k for point in entry.recall})
    measured = {(point.nprobe, point.k): f"{point.recall:.4f}" for point in entry.recall}
    lines = [f"  {'nprobe':>6}" + "".join(f"  {f'k = {k}':>8}" for k in ks)]
    for nprobe in sorted({point.nprobe for point in entry.recall}):
        cells = "".join(f"  {measured.get((nprobe, k), '-'):>8}" for k in ks)
        lines.append(f"  {nprobe:>6}{cells}{'  default' * (nprobe == entry.default_nprobe)}")
    # An index without lists has no nprobe: remove that column.
    return lines if entry.default_nprobe else [line[:2] + line[10:] for line in lines]


def trial_lines(candidates: list[Candidate], rows: int) -> list[str]:
    """Return one line for each index type tried, with the speed measured on the sample and expected for all rows."""
    scaled = f"of {rows}"
    width = max(9, len(scaled))
    lines = [f"  {'kind':<10}  {'nprobe':>6}  recall  {'queries/s':>9}  {scaled:>{width}}  {'bytes/image':>11}"]
    lines += [
        f"  {each.index:<10}  {each.nprobe:>6}  {each.recall:.4f}  {each.queries_per_second:>9.0f}  "
        f"{each.expected_queries_per_second:>{width}.0f}  "
        f"{each.bytes_per_image:>11.0f}  {each.verdict}"
        for each in candidates
    ]
    return lines
