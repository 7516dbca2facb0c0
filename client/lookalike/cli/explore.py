"""`lookalike explore`: serve a web page that shows a collection in a browser."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from lookalike.cli._options import reach, server_options


@click.command(short_help="Serve a page to look at a collection with.")
@server_options(timeout=None)
@click.option("--http", "port", default=8080, show_default=True, metavar="PORT", type=int, help="Port; 0 for any free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that browsers come to.")
@click.option("--http-cert", type=click.Path(path_type=Path), metavar="FILE", help="The page's certificate chain, PEM.")
@click.option("--http-key", type=click.Path(path_type=Path), metavar="FILE", help="Its private key, PEM.")
@click.option("--http-insecure", is_flag=True, help="Allow other machines to come without TLS and without tokens.")
@click.option(
    "--http-name",
    "http_names",
    multiple=True,
    metavar="HOST",
    help="Host by which a proxy in front makes the page known, such as hub.example.org. Repeatable.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("--while-stdin", is_flag=True, hidden=True, help="End when standard input does.")
def explore(
    server: str,
    tls: bool,
    ca: str | None,
    port: int,
    host: str,
    http_cert: Path | None,
    http_key: Path | None,
    http_insecure: bool,
    http_names: tuple[str, ...],
    no_browser: bool,
    while_stdin: bool,
) -> None:
    """Serve a web page that searches and shows a server's collection."""
    # Imported here, so that `lookalike --help` does not load a web server.
    from lookalike.explorer.run import open_browser, run
    from lookalike.explorer.settings import Listen, Upstream

    listen = Listen(host, port, http_cert, http_key, http_insecure, http_names)
    upstream = Upstream(server, **reach(tls, ca))
    if upstream.token is not None and listen.is_reachable_remotely:
        asked = f"--http-name {http_names[0]}" if listen.loopback else f"--host {host}"
        raise click.UsageError(
            f"{asked} lets other machines reach the page, who would all use your token; "
            "leave it out, and everybody logs in with their own."
        )

    def announce(url: str) -> None:
        click.echo(f"EXPLORER of {server} on {url}")
        if no_browser or while_stdin or open_browser(url):
            return
        if "SSH_CONNECTION" in os.environ and listen.loopback:
            bound = url.rstrip("/").rpartition(":")[2]
            click.echo(f"From your own machine: ssh -L {bound}:{listen.host}:{bound} HOST, then open {url}")

    asyncio.run(run(upstream, listen, announce, while_stdin=while_stdin))
