"""`lookalike reload`: make a server load the newest generation now."""

from __future__ import annotations

import click

from lookalike.cli._options import DEFAULT_SERVER, open_client, server_options


@click.command(short_help="Make a server load the newest generation now.")
@server_options(timeout=600.0)  # a generation is loaded meanwhile
def reload(server: str, tls: bool, ca: str | None) -> None:
    """Make a server look for a newer generation now, and print the generation that it serves.

    A server polls about every second; this command reports immediately if a
    generation cannot be served, and why. Needs a token with the role admin; on
    a server without tokens, only the user who runs it may do this, on its
    machine.
    """
    with open_client(server or DEFAULT_SERVER, tls, ca) as client:
        click.echo(f"generation {client.reload()} is served")
