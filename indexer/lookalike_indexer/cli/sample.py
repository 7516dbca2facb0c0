"""`lookalike sample`: select a diverse subset of images for labeling."""

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
    seed_option,
    shown,
    space_option,
)
from lookalike_indexer.cli.out_folder import open_out


@click.command(cls=CollectionCommand)
@collection_option
@click.option("-n", "count", type=click.IntRange(min=1), required=True, metavar="N", help="Images to choose.")
@space_option
@click.option(
    "--among",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Choose among at most this many images, sampled at random.",
)
@seed_option
@click.option("--list", "as_list", is_flag=True, help="Print the files, one a line, and nothing else.")
@keep_option
@out_option
@csv_option("images")
@json_option
@reported
def sample(
    collection: str,
    count: int,
    space: str,
    among: int,
    seed: int,
    as_list: bool,
    keep: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Choose N images of the collection in DIR that are far from each other, for labeling.

    The first is the most typical image; each further one is the farthest from those already chosen (k-center greedy).
    --out draws them.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.experiments.sample import spread_sample

    if as_list and as_json:
        raise click.UsageError("Give --list or --json, not both.")
    view, folder = open_view(collection), open_out(out)
    result = spread_sample(view, count, space, among, seed, progress=TerminalProgress())
    images = result.tables["images"]
    if as_json:
        click.echo(for_programs(result))
    elif as_list:
        click.echo("\n".join(view.uris(view.rows_of_ids(images.column("id").to_numpy()))))
    else:
        print_all(findings(result), shown(images, ["rank", "distance", "label", "key"], 30, result.settings["metric"]))
    if folder is not None:
        from lookalike_indexer.charts.sample import sample_montage

        folder.save("sample", sample_montage(result, folder.thumbnails(view)))
        folder.print_summary(as_json or as_list)
    keep_result(view, result, keep, as_json or as_list)
