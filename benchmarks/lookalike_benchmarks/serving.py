"""A `lookalike serve` process on loopback while a block runs."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_START_S = 300.0
_STOP_S = 30.0


@dataclass(frozen=True)
class Running:
    """A server's address and process."""

    address: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return user and system time so far, of the server's process and its children."""
        process = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))

    def rss_mib(self) -> float:
        """Return the resident memory of the server's process in MiB."""
        return float(psutil.Process(self.pid).memory_info().rss / 2**20)


@contextmanager
def serving(root: Path, *options: str) -> Iterator[Running]:
    """Serve a collection on a free port of loopback until the block ends."""
    command = [sys.executable, "-m", "lookalike", "serve", str(root), "--port", "0", *options]
    with listening(command, r"SERVING .* on (127\.0\.0\.1:\d+)") as running:
        yield running


@contextmanager
def routing(root: Path, shards: Path, *options: str) -> Iterator[Running]:
    """Run a router for the shards in the file `shards`, as `serving` does for a server."""
    command = [sys.executable, "-m", "lookalike", "route", str(root), "--shards", str(shards), "--port", "0", *options]
    with listening(command, r"SERVING .* on (127\.0\.0\.1:\d+)") as running:
        yield running


@contextmanager
def serving_with_metrics(root: Path, *options: str) -> Iterator[tuple[Running, int]]:
    """Serve as `serving` does; yield also the port of the server's metrics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with serving(root, "--metrics-port", str(port), *options) as running:
        yield running, port


@contextmanager
def listening(command: list[str], announced: str) -> Iterator[Running]:
    """Run a server until the block ends; `announced` matches its address in a line of its standard output.

    RuntimeError: it exited, or took too long, before it printed its address.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield Running(_address(process, announced), process.pid)
        except _SilentError as error:
            errors.seek(0)
            told = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"{Path(command[0]).name} {' '.join(command[1:4])} did not start: {told}") from error
        finally:
            _stop(process)


class _SilentError(Exception):
    """A server did not print its address."""


def _address(process: subprocess.Popen[str], announced: str) -> str:
    alarm = threading.Timer(_START_S, process.kill)
    alarm.start()
    try:
        for line in process.stdout or ():
            found = re.search(announced, line)
            if found:
                return found.group(1)
    finally:
        alarm.cancel()
    raise _SilentError


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
