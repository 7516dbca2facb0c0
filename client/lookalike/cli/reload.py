"""`lookalike reload`: make a server load the newest generation now."""

from __future__ import annotations

import click

from lookalike.cli._options import DEFAULT_SERVER, open_client, server_options


@click.command(short_help="Let a server serve the newest generation now.")
@server_options(timeout=600.0)  # a generation is loaded meanwhile
def reload(server: str, tls: bool, ca: str | None) -> None:
    """Let a server look for a newer generation now, and say which one it serves.

    It finds one by itself within a second or so. This tells at once when one
    cannot be served, and why. Needs a token of the role admin where the server
    asks for tokens; elsewhere only the user who runs the server may do this, on
    its machine.
    """
    with open_client(server or DEFAULT_SERVER, tls, ca) as client:
        click.echo(f"generation {client.reload()} is served")
