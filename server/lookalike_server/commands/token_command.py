"""The command `lookalike token`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.errors import UsageError


@click.command(short_help="Make a token for a client.")
@click.option("--name", required=True, help="Name of the caller in logs.")
@click.option(
    "--role",
    type=click.Choice(["metrics", "read", "write", "admin"]),
    default="read",
    show_default=True,
    help="What the client may do: read metrics, also query, also change collections, or also administer the server.",
)
@click.option(
    "--collection",
    "collections",
    multiple=True,
    metavar="NAME",
    help="Limit the client to this collection of a server. Repeatable.  [default: all collections]",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append the token's line to FILE, for `serve --tokens`.",
)
@reported
def token(name: str, role: str, collections: tuple[str, ...], file: Path | None) -> None:
    """Make a token, and the line for the file that `lookalike serve --tokens` reads.

    The file holds only a digest. The token itself is shown once, and not stored. To revoke a token,
    delete its line.
    """
    from lookalike_server.transport.tokens import ROLES, new_token

    made, line = new_token(name, next(known for known in ROLES if known == role), collections)
    if file is None:
        click.echo(f"token: {made}")
        click.echo(f"line:  {line}")
        return
    _append(file, line)
    click.echo(made)


def _append(file: Path, line: str) -> None:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            text = f"{line}\n".encode()
            if not _ends_a_line(descriptor):
                # Otherwise two lines would merge, and lock out both callers.
                text = b"\n" + text
            # One write, so that a server that reads at the same time sees a whole line or none.
            if os.write(descriptor, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"--file {file} cannot be written: {(error.strerror or str(error)).lower()}.") from error


def _ends_a_line(descriptor: int) -> bool:
    """Return whether a file is empty or ends with a newline."""
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
