"""Commands that ask a server, or read a collection's folder when the indexer is there.

The client knows nothing of folders: functions of an entry point group, which
the indexer registers, make of a folder what the server would have told.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import click

collection_option = click.option(
    "-c",
    "--collection",
    type=click.Path(file_okay=False),
    metavar="DIR",
    envvar="LOOKALIKE_COLLECTION",
    show_envvar=True,
    help="The collection's folder, in place of a server; the first argument can name it, too.",
)


def folder_meant(ctx: click.Context, collection: str | None, argument: str | None = None) -> str | None:
    """The folder to read, None when a server is to be asked.

    The argument is that of a command whose first argument can name the folder.
    What is typed goes before what the environment says; click.UsageError when
    two folders, or both a folder and a server, are typed.
    """
    typed = {
        option
        for option in ("collection", "server")
        if ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
    }
    if argument is not None and "collection" in typed:
        raise click.UsageError(f"Name the collection once: {argument} or {collection}.")
    if len(typed) == 2 or (argument is not None and "server" in typed):
        raise click.UsageError("Name a --collection or a --server, not both.")
    if argument is not None:
        return argument
    return None if typed == {"server"} else collection or None


def read_folder(group: str, folder: str, *arguments: Any) -> Any:
    """What the function of an entry point group makes of a folder; click.ClickException without the indexer."""
    for entry in metadata.entry_points(group=group):
        try:
            # The function itself imports what reads a folder.
            return entry.load()(folder, *arguments)
        except ImportError as error:
            raise click.ClickException(
                f"Reading a folder needs {error.name}, which is not installed here: pip install 'lookalike[indexer]'"
            ) from error
    raise click.ClickException("Reading a folder needs the indexer: pip install 'lookalike[indexer]'")
