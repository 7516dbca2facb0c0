"""`lookalike token`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.errors import UsageError


@click.command(short_help="Make a token that lets a caller in.")
@click.option("--name", required=True, help="Whom it is for; logs call the caller so.")
@click.option(
    "--role",
    type=click.Choice(["read", "admin"]),
    default="read",
    show_default=True,
    help="May ask, or may also change what is served.",
)
@click.option(
    "--file", type=click.Path(path_type=Path), metavar="FILE", help="Append its line to the file of `serve --tokens`."
)
@reported
def token(name: str, role: str, file: Path | None) -> None:
    """Make a token, and the line for the file that `lookalike serve --tokens` reads.

    The file holds a digest; the token itself is shown once, and kept nowhere.
    To take a token back, delete its line.
    """
    from lookalike_server.tokens import ROLES, new_token

    made, line = new_token(name, next(known for known in ROLES if known == role))
    if file is None:
        click.echo(f"token: {made}")
        click.echo(f"line:  {line}")
        return
    _append(file, line)
    click.echo(made)


def _append(file: Path, line: str) -> None:
    try:
        # In one write, so that a server that reads meanwhile sees a whole line or none.
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab", buffering=0) as tokens:
            tokens.write(f"{line}\n".encode())
    except OSError as error:
        raise UsageError(f"--file {file} cannot be written: {(error.strerror or str(error)).lower()}.") from error
