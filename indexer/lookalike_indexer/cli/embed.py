"""`lookalike embed`: embed the images of a source."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.cli.collection_command import collection_option
from lookalike_indexer.cli.embed_options import check_source, embed_options, embed_settings
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.machines_option import joined_machines, ray_option
from lookalike_indexer.text import counted, harmless

if TYPE_CHECKING:
    from lookalike_indexer.embedding.embed_stage import EmbedReport


@click.command()
@click.argument("source", type=click.Path())
@collection_option
@embed_options
@ray_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@reported
def embed(source: str, collection: str, ray: str | None, as_json: bool, **options: Any) -> None:
    """Embed the images of SOURCE: a folder, a list of paths ("-": standard input), a Parquet, tar or zip file.

    Run again, it embeds only what is new, and goes on where a killed run stopped.
    Clusterings and indexes of files that were lost are made again.
    """
    check_source(source, collection)

    from lookalike_indexer.cli import build, cluster
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.current import coverage_notes, default_index
    from lookalike_indexer.collection.default_space import default_note
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.embedding.embed_stage import run_embed
    from lookalike_indexer.upkeep.compact import compact_note
    from lookalike_indexer.upkeep.renew import renew

    machines = joined_machines(ray, options)
    settings = embed_settings(source=source, machines=machines, **options)
    storage, progress = open_storage(collection), TerminalProgress()
    with writing(storage):
        latest = generations.latest(storage)
        draft, report = run_embed(storage, latest, settings, progress, machines=machines)
        draft, renewed = renew(storage, draft, progress, unusable_only=True)
        published = generations.publish(storage, draft)
    generation = published.generation
    if as_json:
        again_data = {
            "clusterings": [cluster.as_data(one, generation) for one in renewed.clusterings],
            "indexes": [build.as_data(one, generation) for one in renewed.indexes],
        }
        click.echo(json.dumps({"generation": generation, **dataclasses.asdict(report), "renewed": again_data}))
    else:
        current = (default_index(published, space) for space in report.spaces)
        lacking = coverage_notes(published, [published.indexes[name] for name in current if name], collection)
        again = [*map(cluster.summary, renewed.clusterings), *map(build.summary, renewed.indexes)]
        for line in [*summary(report, collection), *again, default_note(latest, published, collection), *lacking]:
            if line:
                click.echo(line)
        click.echo(f"{collection} is at generation {generation}.")
        if note := compact_note(published, collection):
            click.echo(note)


def summary(report: EmbedReport, collection: str) -> list[str]:
    """Return the summary of a run, one line for each fact."""
    from lookalike_indexer.collection.commands import command

    untrained = "" if report.pretrained else " (UNTRAINED: neighbors mean nothing beyond color and texture)"
    speed = f" in {report.seconds:.1f} s ({report.images_per_second:.1f} images/s)" if report.embedded else ""
    new = "" if report.new or report.embedded else " Nothing is new."
    lines = [
        f"Embedded {counted(report.embedded, 'image')}{speed} with {report.model}, weights {report.weights}"
        f"{untrained}.{new}"
    ]
    if report.class_names == "numbers" and report.pretrained:
        lines.append(
            "Its classes have no names, only numbers; name them with --class-names FILE, or --class-names imagenet."
        )
    counts = {
        "were embedded before, or are damaged and unchanged": report.skipped,
        f"could not be embedded: {command('rejects', collection)} lists them with the reasons": report.rejected,
        "that were rejected before are embedded now": report.recovered,
        "are gone from the source, and kept as they were embedded": report.gone,
        "of the source are deleted here, and stay so: --sync takes those that were gone, --undelete KEY any": (
            report.kept_out if report.changes is None else 0
        ),
        "match --exclude now, and are kept as they were embedded": report.excluded,
        "are in folders that cannot be read now, and kept as they were embedded": report.unreachable,
        "hold other bytes in the source than were embedded, and are kept as they were embedded": report.changed,
        "were found under another name, and keep their embeddings": report.renamed,
        "have another label than before": report.relabelled,
        "new ones have no label": report.without_label,
        "keys of the labels file name no image": report.unknown_labels,
    }
    lines += [f"{count:,} {what}." for what, count in counts.items() if count]
    lines += left_out_lines(report.left_out, report.unreadable_folders)
    if report.again:
        lines.append(
            f"The images table was damaged, so {', '.join(report.again)} must embed some images again: run "
            "`lookalike embed` with each of these models."
        )
    return lines


def left_out_lines(left_out: Mapping[str, int], unreadable_folders: Sequence[str]) -> list[str]:
    """Return lines with the number of omitted files by reason, and the folders that cannot be read."""
    lines = []
    if left_out:
        kinds = (f"{count:,} {why}" for why, count in sorted(left_out.items()))
        lines.append(f"Left out of the source: {', '.join(kinds)}.")
    if unreadable_folders:
        lines.append(f"These cannot be read: {', '.join(harmless(one) for one in unreadable_folders)}.")
    return lines
