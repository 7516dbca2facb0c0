"""Explorer page beside a server, in a process that ends with this one.

The page is a client, which the server must not import, so it is started as the command that users
type. Its standard input is a pipe that only this process holds: EOF tells it that this process has
exited.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import subprocess  # nosec B404
import sys
import threading
from collections.abc import Sequence

from lookalike_indexer.errors import UsageError
from lookalike_server.common.settings import Listen

log = logging.getLogger(__name__)

HOST = "127.0.0.1"


def check_explorer(listen: Listen, port: int, names: Sequence[str] = ()) -> None:
    """Raise UsageError if the page cannot be served on `port` and by `names`, beside a server that listens so."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--http {port} is not a port; use 1 to 65535, or 0 for any free one.")
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"--http needs {package}, which is not installed here: pip install 'lookalike[explorer]'")
    if listen.tls is not None:
        raise UsageError(
            "--http works only without TLS; for a server with TLS, run: "
            f"lookalike explore --server HOST:{listen.port} --ca FILE --http {port}"
        )
    if names and listen.tokens is None and not listen.insecure:
        raise UsageError(
            f"--http-name {names[0]} opens the page to other machines, and this server requires no token; "
            "give --tokens FILE, or --insecure if the proxy authenticates its users."
        )
    if port:
        _check_free(port)


def start_explorer(
    address: str, port: int, names: Sequence[str] = (), *, insecure: bool = False
) -> subprocess.Popen[bytes]:
    """Serve the page of the server at `address`, host:port, on loopback. It prints its own address.

    `names` are the hosts under which a proxy exposes it. With `insecure`, users of those do not log
    in.
    """
    command = [sys.executable, "-m", "lookalike", "explore", "--server", _reached_at(address), "--http", str(port)]
    command += [f"--http-name={name}" for name in names] + ["--http-insecure"] * insecure
    # The token of the user who started the server must not serve everyone who can reach the page: they log in.
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_TOKEN")}
    process = subprocess.Popen([*command, "--host", HOST, "--while-stdin"], stdin=subprocess.PIPE, env=surroundings)  # nosec B603
    threading.Thread(target=_report_end, args=(process,), name="explorer", daemon=True).start()
    return process


def _reached_at(address: str) -> str:
    """Return the address where this machine reaches a server that may listen on all addresses."""
    host, _, port = address.rpartition(":")
    own = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # nosec B104
    return f"{own.get(host, host)}:{port}"


def _check_free(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # The page does the same, so a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"The page cannot be served on port {port}: {error.strerror}. "
                "Give another one with --http, or 0 for any free one."
            ) from error


def _report_end(process: subprocess.Popen[bytes]) -> None:
    code = process.wait()
    # A service manager ends the page and the server with the same signal.
    asked = code in (0, -signal.SIGTERM, -signal.SIGINT)
    log.log(
        logging.INFO if asked else logging.WARNING,
        "the explorer ended with exit code %d; restart it with: lookalike explore",
        code,
    )
