"""`lookalike sort`: put the image files into a folder for each cluster or label."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import clustering_option, json_option, open_view
from lookalike_indexer.text import counted


@click.command(cls=CollectionCommand)
@collection_option
@click.option("--by", type=click.Choice(["cluster", "label"]), default="cluster", show_default=True)
@click.option("--into", type=click.Path(path_type=Path), metavar="FOLDER", help="A new or empty folder.")
@clustering_option
@click.option("--copy", is_flag=True, help="Copy the files.  [default: make symbolic links]")
@click.option("--list", "as_list", is_flag=True, help="Print folder, a tab, and file for each image; write nothing.")
@json_option
@reported
def sort(
    collection: str, by: str, into: Path | None, clustering: str, copy: bool, as_list: bool, as_json: bool
) -> None:
    """Put the files of the images of the collection in DIR into a folder for each cluster, as links or copies.

    Images in no cluster, or without a label, go to the folder `none`. The source stays as it is.
    """
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.experiments.sorting import plan_targets, write_sorted

    if as_list == (into is not None):
        raise click.UsageError("Give --into FOLDER, or --list to write nothing.")
    view = open_view(collection)
    plan = plan_targets(view, by, clustering)
    if into is None:
        for one in plan:
            click.echo(f"{one.folder}\t{one.uri}")
        return
    done = write_sorted(view, plan, into, copy, TerminalProgress())
    if as_json:
        click.echo(
            json.dumps({"folder": str(into), "folders": done.folders, "files": done.files, "missing": done.missing})
        )
        return
    what = f"{done.files:,} {'copy' if done.files == 1 else 'copies'}" if copy else counted(done.files, "link")
    click.echo(f"{into}: {what} in {counted(done.folders, 'folder')}")
    if done.missing:
        click.echo(f"{counted(len(done.missing), 'file')} cannot be read, such as {done.missing[0]}")
