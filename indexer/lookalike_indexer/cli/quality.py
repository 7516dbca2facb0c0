"""`lookalike quality`: list images that are dark, bright, blurry, uniform, tiny, or have an unusual aspect ratio."""

from __future__ import annotations

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    csv_option,
    findings,
    for_programs,
    json_option,
    keep_option,
    keep_result,
    open_view,
    out_option,
    print_all,
    shown,
)
from lookalike_indexer.cli.out_folder import open_out


@click.command(cls=CollectionCommand)
@collection_option
@click.option("--flag", default="", metavar="NAME", help="Only this flag, such as blurry.  [default: all]")
@click.option("--limit", type=click.IntRange(min=1), default=40, show_default=True, help="Images of each flag to list.")
@click.option("--where", default="", metavar="FILTER", help="Only images that match are counted and listed.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that measure.  [default: by processors]")
@click.option("--list", "as_list", is_flag=True, help="Print the listed files, one a line, and nothing else.")
@keep_option
@out_option
@csv_option("flags", "images")
@json_option
@reported
def quality(
    collection: str,
    flag: str,
    limit: int,
    where: str,
    workers: int | None,
    as_list: bool,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Measure the images of the collection in DIR, and list those that are dark, blurry or otherwise poor.

    Images that were measured before are not read again. Measures and flags become attributes, so that filters know
    them: `lookalike images --where blurry`, or `lookalike search cat.jpg --where "not (dark or tiny)"`. --out draws the
    most extreme images of each flag.
    """
    from lookalike_indexer.experiments.image_quality import image_quality
    from lookalike_indexer.filters.text import parse
    from lookalike_indexer.quality.flags import check_flag

    if as_list and as_json:
        raise click.UsageError("Give --list or --json, not both.")
    folder = open_out(out)
    # Check the options before the images are measured, which can take long.
    check_flag(flag)
    if where:
        parse(where)
    generation = _measure(collection, workers)
    view = open_view(collection)
    result = image_quality(view, flag, limit, where)
    images = result.tables["images"]
    if as_json:
        click.echo(for_programs(result))
    elif as_list:
        uris = view.uris(view.rows_of_ids(images.column("id").to_numpy()))
        click.echo("".join(f"{uri}\n" for uri in dict.fromkeys(uris)), nl=False)
    else:
        print_all(
            findings(result),
            shown(result.tables["flags"], ["flag", "images", "share", "rule"]),
            shown(images, ["flag", "rank", "value", "label", "key"], 30) if len(images) else "",
        )
    if folder is not None:
        from lookalike_indexer.charts.quality import quality_montage

        if len(images):
            folder.save("quality", quality_montage(result, folder.thumbnails(view)))
        folder.print_summary(as_json or as_list)
    if not (as_json or as_list):
        click.echo(f"{collection} is at generation {generation}.")
    keep_result(view, result, keep, as_json or as_list)


def _measure(collection: str, workers: int | None) -> int:
    """Measure new images, publish the attributes, and return the generation, which is the same without new images."""
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.quality.quality_stage import run_quality
    from lookalike_indexer.threads import processors

    storage = open_storage(collection)
    generations.require_latest(storage)
    with writing(storage):
        latest = generations.require_latest(storage)
        draft, _ = run_quality(storage, latest, workers or processors(), TerminalProgress())
        return generations.publish(storage, draft).generation
