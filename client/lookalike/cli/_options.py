"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar

import click

import lookalike

DEFAULT_SERVER: Final = "127.0.0.1:50051"

# Default timeout of each call in seconds.
TIMEOUT_S: Final = 30.0

# Prefix of the keys in click's context for options that only `open_client` reads.
_META: Final = "lookalike.server"

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(
    default: str | None = DEFAULT_SERVER, timeout: float | None = TIMEOUT_S
) -> Callable[[Command], Command]:
    """Add the options for the server's address, TLS, token, collection and timeout.

    The command receives --server, --tls and --ca; `open_client` reads the others from click's context. `timeout` is the
    default of --timeout in seconds; None for a command without that option.
    """

    def decorate(command: Command) -> Command:
        if timeout is not None:
            command = _context_option(
                "--timeout",
                metavar="SECONDS",
                type=click.FloatRange(min=0, min_open=True),
                default=timeout,
                show_default=True,
                help="Wait this long for each answer.",
            )(command)
        for option in (
            _context_option(
                "--collection-name",
                metavar="NAME",
                default="",
                envvar="LOOKALIKE_COLLECTION_NAME",
                show_envvar=True,
                help="The collection to ask about, where the server has several.",
            ),
            _context_option(
                "--insecure", is_flag=True, help="Send the token without TLS, because the network is trusted."
            ),
            _context_option(
                "--token-file",
                metavar="FILE",
                type=click.Path(),
                envvar="LOOKALIKE_TOKEN_FILE",
                show_envvar=True,
                help="Show the token in this file; the variable LOOKALIKE_TOKEN may hold one itself.",
            ),
            _context_option("--tls-key", metavar="FILE", type=click.Path(), help="The private key of --tls-cert, PEM."),
            _context_option(
                "--tls-cert", metavar="FILE", type=click.Path(), help="Show this certificate to the server, PEM."
            ),
            click.option(
                "--ca",
                metavar="FILE",
                type=click.Path(),
                envvar="LOOKALIKE_CA",
                show_envvar=True,
                help="Use TLS, and trust the certificates in this PEM file.",
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


class Reach(TypedDict):
    """Connection arguments of both clients, besides the address."""

    tls: bool | lookalike.TLS
    token: str | None
    insecure: bool


def open_client(server: str, tls: bool, ca: str | None) -> lookalike.Client:
    """Open the client for the values of the server options."""
    # No waiting for the server: a user who mistyped the address wants to know at once.
    name = click.get_current_context().meta.get(f"{_META}.collection_name", "")
    timeout = click.get_current_context().meta.get(f"{_META}.timeout", TIMEOUT_S)
    return lookalike.Client(server, wait_for_server=False, collection=name, timeout=timeout, **reach(tls, ca))


def reach(tls: bool, ca: str | None) -> Reach:
    """Return the connection arguments of the server options, besides the address."""
    kept = click.get_current_context().meta
    cert, key = kept.get(f"{_META}.tls_cert"), kept.get(f"{_META}.tls_key")
    secure = lookalike.TLS(ca=ca, cert=cert, key=key) if ca or cert or key else tls
    return {"tls": secure, "token": configured_token(), "insecure": bool(kept.get(f"{_META}.insecure"))}


def configured_token() -> str | None:
    """Return the token of --token-file or LOOKALIKE_TOKEN; None without either."""
    path = click.get_current_context().meta.get(f"{_META}.token_file")
    if path is None:
        return os.environ.get("LOOKALIKE_TOKEN") or None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not text").lower()
        raise click.UsageError(f"--token-file {path} cannot be read: {reason}.") from error


def _context_option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Add an option that is stored in click's context for `open_client` and not passed to the command."""

    def keep(ctx: click.Context, option: click.Parameter, value: object) -> None:
        ctx.meta[f"{_META}.{option.name}"] = value

    return click.option(*names, callback=keep, expose_value=False, **settings)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
space_option = click.option("--space", default="", help="The embedding space; the collection's default when not given.")
key_option = click.option(
    "--key", "as_key", is_flag=True, help="Take the argument as a key, though there is such a file."
)
montage_option = click.option(
    "--montage", metavar="OUT.png", type=click.Path(dir_okay=False), help="Draw the answer into a PNG file."
)
subject_argument = click.argument("subject", metavar="IMAGE_OR_KEY", type=click.Path())
