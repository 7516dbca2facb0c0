"""The command `lookalike serve`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lookalike import local_secret
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.threads import sleep_while_waiting
from lookalike_server.commands.collection_options import CollectionType, collection_overrides, named
from lookalike_server.commands.configuration import config_option
from lookalike_server.commands.fronts_option import FrontsType, number_of_fronts
from lookalike_server.commands.limit_options import limit_options
from lookalike_server.commands.observe_options import observe_options
from lookalike_server.commands.options import Positional, Serve, setting
from lookalike_server.processes.caller import end_with_stdin

if TYPE_CHECKING:
    from lookalike_server.commands.lifecycle import Server
    from lookalike_server.common.observe_settings import ObserveSettings
    from lookalike_server.observe.logs import LogFormat


@config_option
@click.command(cls=Serve)
@click.argument("collection", cls=Positional, metavar="[NAME=]DIR...", type=CollectionType(), nargs=-1, required=True)
@setting("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@setting("--port", default=50051, show_default=True, help="Port to bind; 0 for any free one.")
@setting(
    "--placement",
    type=click.Choice(["cpu", "gpu", "shard", "replicate"]),
    default="cpu",
    show_default=True,
    help="Where to keep the indexes: on the processor, on one GPU, split over GPUs, or copied to each GPU.",
)
@setting("--gpus", default="", metavar="0,1|all", help="GPUs to use.  [default: GPU 0 for gpu, else all]")
@setting(
    "--weights",
    type=click.Path(),
    metavar="FILE",
    help="Weights file of the network, if it has moved since indexing.",
)
@setting(
    "--index",
    "indexes",
    multiple=True,
    metavar="NAME|SPACE/NAME",
    help="The index to search: NAME in every space that has it, or SPACE/NAME in one space. Repeatable.  "
    "[default: the current one of each space]",
)
@setting(
    "--set",
    "own",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="A limit, the weights or an index of one collection alone, such as flowers.max_k=100, flowers.weights=FILE or "
    "flowers.index=main. Repeatable.",
)
@setting(
    "--on-device-loss",
    "on_loss",
    type=click.Choice(["fail", "retry", "cpu"]),
    default="retry",
    show_default=True,
    help="When a device is lost: stop the server, retry to place the index, or search on the processor.",
)
@setting(
    "--fronts",
    type=FrontsType(),
    default="1",
    show_default=True,
    metavar="N|auto",
    help="Processes that take calls in, in front of one that has indexes, devices and network; 1 means one process for "
    "everything, auto as many as there are processors that searches do not need.",
)
@setting(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Cache objects of an object store in FOLDER; LOOKALIKE_CACHE_BYTES limits its size.",
)
@setting(
    "--shard",
    metavar="N/M",
    help="Search only share N of M of the images, for a router; see `lookalike route`.",
)
@setting(
    "--grace",
    type=float,
    default=10.0,
    show_default=True,
    help="Seconds that calls in flight may take to end when the server stops.",
)
@setting("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate chain, PEM.")
@setting("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Private key, PEM.")
@setting(
    "--tls-client-ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Accept only clients with a certificate of this authority, PEM.",
)
@setting(
    "--tokens",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Accept only clients with a token whose digest is in FILE; see `lookalike token`.",
)
@setting(
    "--http", type=int, metavar="PORT", help="Serve the explorer page at this port of loopback; 0 for any free one."
)
@setting(
    "--http-name",
    "http_names",
    multiple=True,
    metavar="HOST",
    help="Public host name of that page behind a proxy, such as hub.example.org; needs --tokens or --insecure. "
    "Repeatable.",
)
@setting(
    "--experiments/--no-experiments",
    default=True,
    show_default=True,
    help="Run experiments for clients, in a separate process. The server returns stored results in any case.",
)
@setting(
    "--writable",
    is_flag=True,
    help="Accept changes from clients with the role write: new images, deletions, labels and attributes. Only "
    "one server of a collection can.",
)
@setting("--reflection/--no-reflection", default=True, show_default=True, help="Enable gRPC server reflection.")
@setting(
    "--show-paths",
    type=click.Choice(["admin", "local", "everyone"]),
    default="local",
    show_default=True,
    help="Clients that see URIs and file paths: those with the role admin; also local clients of a server without "
    "tokens; or everyone.",
)
@setting("--insecure", is_flag=True, help="Accept remote clients without TLS, tokens or certificates.")
@click.option("--while-stdin", is_flag=True, hidden=True, help="Stop at the end of standard input.")
@limit_options
@reported
@observe_options
def serve(
    collection: tuple[str, ...],
    host: str,
    port: int,
    placement: str,
    gpus: str,
    weights: str | None,
    indexes: tuple[str, ...],
    own: tuple[str, ...],
    on_loss: str,
    cache: Path | None,
    shard: str | None,
    grace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    tokens: Path | None,
    http: int | None,
    http_names: tuple[str, ...],
    experiments: bool,
    writable: bool,
    reflection: bool,
    show_paths: str,
    insecure: bool,
    while_stdin: bool,
    limits: Mapping[str, int],
    observe: ObserveSettings,
    log_format: LogFormat,
    security_log: Path | None,
    fronts: int | None,
    shards: Path | None = None,
) -> None:
    """Serve one or several collections over gRPC.

    Clients name a collection by NAME, or by its folder's name. A call without a name is about the
    first collection. If a collection cannot be loaded, the server serves the others and tries it
    again.

    A new generation is served as soon as it is published; SIGHUP checks for one at once. On
    SIGTERM, calls in flight end first. Certificates and tokens are reloaded when their files
    change.
    """
    if while_stdin:
        end_with_stdin()
    if cache is not None:
        # Environment variable, because the embedding and experiment processes use the cache too.
        os.environ["LOOKALIKE_CACHE"] = str(cache.absolute())
    # Imported here, so that `lookalike --help` does not load faiss. The imports take as long as hashing a gigabyte.
    from lookalike_indexer.errors import UsageError
    from lookalike_server.common.share import Share
    from lookalike_server.generation.verification import FileVerifier

    verifier = FileVerifier()
    pairs = named(collection)
    several = number_of_fronts(fronts, placement)
    if several == 1 and shards is None:
        # An invalid share is reported below.
        with contextlib.suppress(UsageError):
            verifier.verify_ahead(pairs[0][1], indexes, None if shard is None else Share.parse(shard))
    # Before faiss is loaded, so that its threads for large calls do not spin against the event loop's.
    sleep_while_waiting()
    try:
        from lookalike_server.commands.chosen_collections import CommonSettings, chosen_collections, stored_limits
        from lookalike_server.commands.explorer_process import check_explorer, start_explorer
        from lookalike_server.commands.lifecycle import run
        from lookalike_server.common.placement_mode import ON_LOSS, PLACEMENTS
        from lookalike_server.common.settings import Listen, ServeSettings
        from lookalike_server.common.shard_settings import read_shards
        from lookalike_server.common.visible import SHOW_PATHS
        from lookalike_server.fronts.control import Logs
        from lookalike_server.observe.logs import configure
        from lookalike_server.observe.security import keep_in

        shown = next(known for known in SHOW_PATHS if known == show_paths)
        stored = [stored_limits(root, required=len(pairs) == 1) for _, root in pairs]
        chosen = CommonSettings(limits, weights, indexes)
        of_server, collections = chosen_collections(pairs, chosen, collection_overrides(own, pairs), stored)
        settings = ServeSettings(
            root=pairs[0][1],
            weights=weights,
            indexes=indexes,
            collections=collections,
            listen=Listen(host, port, tls_cert, tls_key, insecure, tls_client_ca, tokens, reflection, shown),
            placement=next(known for known in PLACEMENTS if known == placement),
            gpus=gpus,
            grace=grace,
            on_loss=next(known for known in ON_LOSS if known == on_loss),
            experiments=experiments,
            writable=writable,
            limits=of_server,
            observe=observe,
            fronts=several,
            share=None if shard is None else Share.parse(shard),
            shards=None if shards is None else read_shards(shards),
        )
        where = f"placement {placement}"
        if settings.share is not None:
            where = f"shard {settings.share}"
        elif settings.shards is not None:
            where = f"{len(settings.shards.replicas)} shards"

        def announce(server: Server) -> None:
            for served in server.served:
                if served.problem:
                    click.echo(f"NOT SERVING {served.name}: {served.problem}")
                    continue
                click.echo(
                    f"SERVING {served.name} on {server.address}: generation {served.generation}, "
                    f"{served.images} images, {where}, indexes {', '.join(served.indexes) or 'none'}"
                )
            if server.metrics_port is not None:
                click.echo(f"METRICS on http://{observe.metrics_host}:{server.metrics_port}/metrics")
            if http is not None:
                start_explorer(server.address, http, http_names, insecure=insecure)
                _print_change_hint(server.address, writable=writable, tokens=tokens)

        if http is not None:
            check_explorer(settings.listen, http, http_names)
        configure(log_format)
        if security_log is not None and several == 1:
            keep_in(security_log)
        asyncio.run(run(settings, announce, verifier, Logs(log_format, security_log)))
    finally:
        verifier.abandon()
    _leave()


def _print_change_hint(address: str, *, writable: bool, tokens: Path | None) -> None:
    """Print how the user of a server without tokens can change collections on the page."""
    file = local_secret.file_of(int(address.rpartition(":")[2])) if writable and tokens is None else None
    if file is not None:
        click.echo(f"CHANGES on the page need a login: open its address /login and enter the token in {file}")


def _leave() -> NoReturn:
    """Exit the process at once: every call has been answered, and nothing is left to write.

    A normal interpreter exit would wait for a network that is still loading in its own process,
    which exits by itself after this one.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
