"""Commands that either call a server, or read a collection's folder if the indexer is installed.

The client cannot read folders. The indexer registers functions in entry point groups, which
return for a folder the same data as a server.
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


def requested_folder(ctx: click.Context, collection: str | None, argument: str | None = None) -> str | None:
    """Return the folder to read, None to call a server.

    `argument` is the command's first argument if that can name the folder. The command line
    overrides the environment. click.UsageError: the command line names two folders, or both a
    folder and a server.
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
    """Call the function of an entry point group for a folder; click.ClickException without the indexer."""
    for entry in metadata.entry_points(group=group):
        try:
            # The function imports the modules that read a folder.
            return entry.load()(folder, *arguments)
        except ImportError as error:
            raise click.ClickException(
                f"Reading a folder needs {error.name}, which is not installed here: pip install 'lookalike[indexer]'"
            ) from error
    raise click.ClickException("Reading a folder needs the indexer: pip install 'lookalike[indexer]'")
