"""The command `lookalike route`: one address in front of shards."""

from __future__ import annotations

from pathlib import Path

import click

from lookalike_server.commands.cli import serve
from lookalike_server.commands.collection_options import CollectionType
from lookalike_server.commands.configuration import config_option
from lookalike_server.commands.options import Positional, Serve, setting

# Options that a router lacks: it has no index, and accepts no changes.
_NOT_HERE = {"collection": (), "placement": "cpu", "gpus": "", "on_loss": "retry", "shard": None, "writable": False,
             "own": ()}  # fmt: skip


@click.command(cls=Serve, short_help="Serve a collection whose index is split over several servers.")
@click.argument("collection", cls=Positional, metavar="[NAME=]DIR", type=CollectionType())
@setting(
    "--shards",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help='TOML file of the shard servers: a table [[shard]] with replicas = ["HOST:PORT", ...] for each shard.',
)
@click.pass_context
def route(ctx: click.Context, /, collection: str, **given: object) -> None:
    """Serve the collection in DIR, whose index is spread over shard servers.

    Each shard runs `lookalike serve DIR --shard N/M`. The router asks one replica of each shard,
    and answers as one server with the whole index would. If no replica of a shard answers, calls
    fail with UNAVAILABLE. The services, limits, options, environment variables, and configuration
    are those of `lookalike serve`.

    A new generation is served when all shards that answer have it.
    """
    ctx.invoke(serve, **{**_NOT_HERE, **given, "collection": (collection,)})


route.params += [one for one in serve.params if one.name not in {*_NOT_HERE, "config"}]
config_option(route)
