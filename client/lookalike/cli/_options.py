"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from lookalike import TLS, Client

DEFAULT_SERVER: Final = "127.0.0.1:50051"

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(default: str | None = DEFAULT_SERVER) -> Callable[[Command], Command]:
    """--server, which the environment variable LOOKALIKE_SERVER sets too, --tls and --ca."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option(
                "--ca", metavar="FILE", type=click.Path(), help="Use TLS, and trust the certificates in this PEM file."
            ),
            click.option("--tls", is_flag=True, help="Use TLS with a certificate of a public authority."),
            click.option(
                "--server",
                default=default,
                envvar="LOOKALIKE_SERVER",
                metavar="HOST:PORT",
                show_default=default is not None,
                show_envvar=True,
                help="The server to ask.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def open_client(server: str, tls: bool, ca: str | None) -> Client:
    """The client that the server options ask for."""
    return Client(server, tls=tls if ca is None else TLS(ca=ca))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
space_option = click.option("--space", default="", help="The embedding space; the collection's default when not given.")
key_option = click.option(
    "--key", "as_key", is_flag=True, help="Take the argument as a key, though there is such a file."
)
montage_option = click.option(
    "--montage", metavar="OUT.png", type=click.Path(dir_okay=False), help="Draw the answer into a picture file."
)
subject_argument = click.argument("subject", metavar="IMAGE_OR_KEY", type=click.Path())
