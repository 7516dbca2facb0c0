"""`lookalike duplicates`: list groups of near-duplicates, and the image of each group to keep."""

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
    space_option,
)
from lookalike_indexer.cli.near_options import max_distance_option
from lookalike_indexer.cli.out_folder import open_out
from lookalike_indexer.text import counted


@click.command(cls=CollectionCommand)
@collection_option
@space_option
@max_distance_option
@click.option("--exact-bytes", is_flag=True, help="Only files of the same bytes; needs no graph.")
@click.option("--limit", type=click.IntRange(min=1), help="Groups to list, the largest first.  [default: all]")
@click.option("--list", "as_list", is_flag=True, help="Print the files that can go, one a line, and nothing else.")
@click.option("--apply", is_flag=True, help="Delete the images that can go from the collection. Their files stay.")
@keep_option
@out_option
@csv_option("groups", "images")
@json_option
@reported
def duplicates(
    collection: str,
    space: str,
    max_distance: float | None,
    exact_bytes: bool,
    limit: int | None,
    as_list: bool,
    apply: bool,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Group the near-duplicates among the images of the collection in DIR, and name the one of each group to keep.

    Near-duplicates are images at a small distance in the graph that `lookalike graph` made, and those linked by others.
    Where `lookalike quality` measured the images, auto also takes neighbors of the image to keep whose perceptual
    hashes are alike; the findings state the rule. Such groups are not sure, and --apply refuses them.
    The one to keep is the largest image, and the first among equals. --out draws the groups, and --list names the
    files that can go; run it before --apply, which deletes these from the collection. No file is deleted, and a later
    `lookalike index` does not bring them back.
    """
    import pyarrow.compute as pc

    from lookalike_indexer.experiments.duplicates import check_sure
    from lookalike_indexer.experiments.duplicates import duplicates as experiment

    if as_list and as_json:
        raise click.UsageError("Give --list or --json, not both.")
    view, folder = open_view(collection), open_out(out)
    result = experiment(view, space, max_distance, exact_bytes=exact_bytes, limit=limit)
    if apply and max_distance is None and not exact_bytes:
        check_sure(result)
    images, metric = result.tables["images"], result.settings.get("metric")
    if as_json:
        click.echo(for_programs(result))
    elif as_list:
        gone = images.filter(pc.invert(images.column("keep")))
        for uri in view.uris(view.rows_of_ids(gone.column("id").to_numpy())):
            click.echo(uri)
    else:
        print_all(
            findings(result),
            shown(result.tables["groups"], ["group", "images", "exact", "by_hash", "farthest", "keep"], 10, metric)
            if len(images)
            else "",
            shown(images, ["group", "key", "width", "height", "keep", "exact", "by_hash", "distance"], 30, metric)
            if len(images)
            else "",
        )
    if folder is not None:
        from lookalike_indexer.charts.duplicates import duplicates_montage

        if len(images):
            folder.save("duplicates", duplicates_montage(result, folder.thumbnails(view)))
        folder.print_summary(as_json or as_list)
    keep_result(view, result, keep, as_json or as_list)
    if apply:
        from lookalike_indexer.collection.commands import purge_commands
        from lookalike_indexer.collection.deletion import delete

        gone = images.filter(pc.invert(images.column("keep"))).column("id").to_pylist()
        done = delete(view.reader.storage, ids=gone)
        told = f"Deleted {counted(len(done.ids), 'image')}. {collection} is at generation {done.generation}."
        click.echo(told, err=as_json or as_list)
        if done.ids:
            told = f"Their files stay. To remove their vectors from the disk, run: {purge_commands(collection)}"
            click.echo(told, err=as_json or as_list)
