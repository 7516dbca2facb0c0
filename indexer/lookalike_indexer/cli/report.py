"""`lookalike report`: write all experiments to one HTML page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import class_names_option, open_view, seed_option
from lookalike_indexer.errors import NotFoundError


@click.command(cls=CollectionCommand)
@collection_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    default="report.html",
    show_default=True,
    metavar="FILE",
    help="The page, which replaces an earlier one.",
)
@click.option("--image", default="", metavar="KEY", help="The image to follow.  [default: a misclassified one]")
@click.option("--label", default="", metavar="LABEL", help="The class to split.  [default: the least held together]")
@class_names_option
@seed_option
@reported
def report(collection: str, out: str, image: str, label: str, class_names: str, seed: int) -> None:
    """Put all experiments over the collection in DIR into one HTML file.

    It needs nothing but a browser: images are inside, and there is no
    script. What cannot be made, because there are no labels or checkpoints
    for example, is listed with the reason. Results that were kept with --keep
    are used where they are still true.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.report.context import Examples
    from lookalike_indexer.report.make import make_report

    view, path = open_view(collection, class_names), Path(out)
    try:
        # Create the folder first, because a report takes minutes.
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotFoundError(f"--out {out}: its folder cannot be made: {os.strerror(error.errno or 0)}.") from error
    html, chapters = make_report(view, Examples(image, label, seed), TerminalProgress())
    try:
        path.write_text(html, "utf-8")
    except OSError as error:
        raise NotFoundError(f"--out {out} cannot be written: {error.strerror}.") from error
    for chapter in chapters:
        if chapter.missing:
            click.echo(f"Not made: {chapter.number} {chapter.title}: {chapter.missing}")
    made = sum(not chapter.missing for chapter in chapters)
    click.echo(f"Wrote {path}: {made} of {len(chapters)} chapters, {path.stat().st_size / 1e6:.1f} MB")
