"""`lookalike serve`."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lookalike_indexer.cli.bytes import Bytes, Pixels
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.threads import sleep_while_waiting
from lookalike_server.observe.options import observe_options

if TYPE_CHECKING:
    from lookalike_server.app import App
    from lookalike_server.observe.logs import LogFormat
    from lookalike_server.observe.settings import ObserveSettings


@click.command()
@click.argument("collection", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=50051, show_default=True, help="Port to listen on; 0 for any free one.")
@click.option(
    "--placement",
    type=click.Choice(["cpu", "gpu", "shard", "replicate"]),
    default="cpu",
    show_default=True,
    help="Where indexes live: the processor, one GPU, split over GPUs, or a copy on each GPU.",
)
@click.option("--gpus", default="", metavar="0,1|all", help="GPUs to use; GPU 0 for gpu, else all.")
@click.option(
    "--weights", metavar="FILE", help="Weights to embed pictures with, if they are no longer where they were."
)
@click.option(
    "--index",
    "indexes",
    multiple=True,
    metavar="NAME|SPACE/NAME",
    help="The index to search, of each space that has one of this name or of one space. Repeatable.  "
    "[default: the current one of each space]",
)
@click.option("--max-queue", type=int, metavar="N", help="Queries that may wait for the device.")
@click.option("--max-peer-calls", type=int, metavar="N", help="Calls of one address that may be under way.")
@click.option(
    "--max-image-bytes",
    type=Bytes(),
    metavar="SIZE",
    help="The largest picture of a query or of a thumbnail, such as 100MB.  [default: the collection's limit]",
)
@click.option(
    "--max-pixels",
    type=Pixels(),
    metavar="COUNT",
    help="The most pixels of such a picture, such as 200M.  [default: the collection's limit]",
)
@click.option(
    "--on-device-loss",
    "on_loss",
    type=click.Choice(["fail", "retry", "cpu"]),
    default="retry",
    show_default=True,
    help="End, put the index there again until it stays, or search on the processor from then on.",
)
@click.option("--grace", type=float, default=10.0, show_default=True, help="Seconds that calls may take to end.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Private key, PEM.")
@click.option(
    "--tls-client-ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Let in only callers with a certificate of this authority, PEM.",
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Let in only callers with a token whose digest is in FILE; see `lookalike token`.",
)
@click.option("--http", type=int, metavar="PORT", help="Serve a page to look at the collection with, on loopback.")
@click.option("--reflection/--no-reflection", default=True, show_default=True, help="Tell callers of the methods.")
@click.option(
    "--show-paths",
    type=click.Choice(["admin", "local", "everyone"]),
    default="local",
    show_default=True,
    help="Who sees URIs and paths of files: callers of the role admin; also those on this machine, where no tokens are "
    "asked for; or everyone.",
)
@click.option("--insecure", is_flag=True, help="Allow other machines to connect without TLS, tokens or certificates.")
@reported
@observe_options
def serve(
    collection: Path,
    host: str,
    port: int,
    placement: str,
    gpus: str,
    weights: str | None,
    indexes: tuple[str, ...],
    max_queue: int | None,
    max_peer_calls: int | None,
    max_image_bytes: int | None,
    max_pixels: int | None,
    on_loss: str,
    grace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    tokens: Path | None,
    http: int | None,
    reflection: bool,
    show_paths: str,
    insecure: bool,
    observe: ObserveSettings,
    log_format: LogFormat,
    security_log: Path | None,
) -> None:
    """Answer queries about the collection in DIR over gRPC.

    A new generation is served as soon as it is published; SIGHUP looks for one
    at once. SIGTERM lets the calls in flight end first. Certificates and tokens
    are read again when their files change.
    """
    # Imported here, so that `lookalike --help` does not load faiss. What follows takes as long as hashing a gigabyte.
    from lookalike_server.trust import Trust

    trust = Trust()
    trust.begin(str(collection))
    # Before faiss is loaded: its threads for large calls must not spin against the event loop's.
    sleep_while_waiting()
    try:
        from lookalike_indexer.collection import generations
        from lookalike_indexer.collection.limits import ImageLimits
        from lookalike_indexer.collection.storage import Storage
        from lookalike_server.limits import Limits
        from lookalike_server.observe.logs import configure
        from lookalike_server.observe.security import keep_in
        from lookalike_server.page import check_page, start_page
        from lookalike_server.placement.place import PLACEMENTS
        from lookalike_server.placement.placing import ON_LOSS
        from lookalike_server.running import run
        from lookalike_server.settings import Listen, ServeSettings
        from lookalike_server.visible import SHOW_PATHS

        given = {"max_queue": max_queue, "max_peer_calls": max_peer_calls}
        shown = next(known for known in SHOW_PATHS if known == show_paths)
        limits = dataclasses.replace(Limits(), **{name: value for name, value in given.items() if value is not None})
        stored = generations.require_latest(Storage(collection)).limits
        limits = limits.admitting(ImageLimits(max_image_bytes or stored.max_bytes, max_pixels or stored.max_pixels))
        settings = ServeSettings(
            root=str(collection),
            listen=Listen(host, port, tls_cert, tls_key, insecure, tls_client_ca, tokens, reflection, shown),
            placement=next(known for known in PLACEMENTS if known == placement),
            gpus=gpus,
            weights=weights,
            indexes=indexes,
            grace=grace,
            on_loss=next(known for known in ON_LOSS if known == on_loss),
            limits=limits,
            observe=observe,
        )

        def announce(app: App) -> None:
            snapshot = app.current.snapshot
            click.echo(
                f"SERVING {snapshot.name} on {app.address}: generation {snapshot.generation}, "
                f"{len(snapshot.columns)} images, placement {placement}"
            )
            if app.metrics_port is not None:
                click.echo(f"METRICS on http://{observe.metrics_host}:{app.metrics_port}/metrics")
            if http is not None:
                start_page(app.address, http)

        if http is not None:
            check_page(settings.listen, http)
        configure(log_format)
        if security_log is not None:
            keep_in(security_log)
        asyncio.run(run(settings, announce, trust))
    finally:
        trust.abandon()
    _leave()


def _leave() -> NoReturn:
    """End the process at once: every call was answered, and nothing of ours is left to be written.

    The interpreter's own way out would wait for a network that is still loading
    in its process, which ends by itself when this one has.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
