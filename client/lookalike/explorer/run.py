"""Run the page's web server until it is stopped."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import webbrowser
from collections.abc import Callable

import uvicorn

from lookalike import AuthenticationError, InvalidArgumentError, LookalikeError
from lookalike.explorer.app import create_app
from lookalike.explorer.callers import open_client
from lookalike.explorer.settings import Bounds, Listen, Upstream


async def run(upstream: Upstream, listen: Listen, announce: Callable[[str], None], *, while_stdin: bool) -> None:
    """Serve until SIGTERM or SIGINT, or, with `while_stdin`, until EOF on standard input; `announce` gets the URL.

    InvalidArgumentError: the address cannot be bound, or other machines can reach the page while the server requires no
    token.
    """
    if listen.needs_tokens:
        await _require_tokens(upstream, listen)
    listening = _open_socket(listen)
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        create_app(upstream, listen),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        ssl_certfile=listen.tls_cert,
        ssl_keyfile=listen.tls_key,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    if while_stdin:
        asyncio.get_running_loop().run_in_executor(None, _wait_for_end_of_input)
    announce(listen.url(port))
    await serving


def _open_socket(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is named; without it the ends of replies are delayed by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((listen.host, listen.port))
    except OSError as error:
        listening.close()
        raise InvalidArgumentError(
            f"The page cannot be served on {listen.host} port {listen.port}: {error.strerror or error}. "
            "Give another port with --http, or 0 for any free one."
        ) from error
    # Browsers that connect early wait in this backlog.
    listening.listen(128)
    listening.set_inheritable(False)
    return listening


async def _require_tokens(upstream: Upstream, listen: Listen) -> None:
    """Reject a page that other machines can reach if the server requires no token."""
    asked = f"--host {listen.host}" if not listen.loopback else f"--http-name {listen.names[0]}"
    client = open_client(upstream, Bounds(), None)
    try:
        await client.info()
    except AuthenticationError:
        return
    except LookalikeError as error:
        raise InvalidArgumentError(
            f"Whether the server asks for tokens cannot be told, so {asked} is refused: {error}"
        ) from error
    finally:
        await client.close()
    raise InvalidArgumentError(
        f"{asked} lets other machines reach the page, and the server at {upstream.server} asks nobody for a token: "
        "start it with --tokens FILE, or give --http-insecure if the network or the proxy is trusted."
    )


def _wait_for_end_of_input() -> None:
    """Wait for EOF: the parent process holds the other end of standard input until it exits."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)


def open_browser(url: str) -> bool:
    """Open the page in a browser if there is a display; return True if this was tried."""
    here = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return here and "SSH_CONNECTION" not in os.environ and webbrowser.open(url)
