"""A process of a server, as it begins and as it hears of its supervisor: what both fronts and engine process do."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NoReturn

from lookalike_indexer.errors import IndexerError
from lookalike_server.common.settings import ServeSettings

_BEAT_S = 1.0

# From the supervisor: "stop" with the seconds that calls may take, "reload". From the process: "ready" with what the
# supervisor wants to know, "failed" with an error, "ending" with what is wrong, "alive" every second.
Word = Literal["stop", "reload", "ready", "failed", "ending", "alive"]


@dataclass(frozen=True)
class Logs:
    """How processes write their logs, and the file of the security log, if there is one."""

    form: Literal["text", "json"] = "text"
    security: Path | None = None


@dataclass(frozen=True)
class Common:
    """What every process of a server is given. `folder` has the engine's socket, and is this server's alone."""

    settings: ServeSettings
    folder: Path
    logs: Logs

    @property
    def socket(self) -> Path:
        """Where the engine process takes fronts in."""
        return self.folder / "engine"

    @property
    def shared(self) -> Path:
        """Where the engine process writes what fronts map."""
        return self.folder / "generations"


class Control:
    """The supervisor, as one of its processes sees it; for the event loop of that process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Has the seconds that calls may take, when the process is to stop.
        self.stopping: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.on_reload: Callable[[], None] = lambda: None
        asyncio.get_running_loop().add_reader(connection.fileno(), self._read)

    def tell(self, word: Word, what: Any = None) -> None:
        """Tell the supervisor something."""
        self._connection.send((word, what))

    async def beat(self) -> None:
        """Give signs of life; endless."""
        while True:
            self.tell("alive")
            await asyncio.sleep(_BEAT_S)

    def _read(self) -> None:
        try:
            word, what = self._connection.recv()
        except (EOFError, OSError):
            # The supervisor has gone, and the lifeline ends this process.
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            return
        if word == "stop" and not self.stopping.done():
            self.stopping.set_result(what)
        elif word == "reload":
            self.on_reload()


# What a process does until it is told to stop.
Serve = Callable[[Control], Coroutine[Any, Any, None]]


def run_process(connection: Connection, common: Common, serve: Serve) -> NoReturn:
    """Run a process until its supervisor, or an error that the supervisor is told of, ends it."""
    _end_with_supervisor(common.folder)
    # Ctrl-C reaches every process of a terminal, and systemd's SIGTERM every one of a service; the supervisor decides
    # when this one ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Imported here, so that the supervisor needs none of it.
    from lookalike_server.observe.logs import configure
    from lookalike_server.observe.security import keep_in

    configure(common.logs.form, multiprocessing.current_process().name)
    code = 0
    try:
        if common.logs.security is not None:
            keep_in(common.logs.security)
        allow_connections()
        # What was imported stays: looking at it again and again costs a call a twentieth of its time.
        gc.freeze()
        asyncio.run(_controlled(connection, serve))
    except Exception as error:
        code = 1
        if not isinstance(error, IndexerError):
            logging.getLogger(__name__).exception("a process of the server failed")
        connection.send(("failed", _sendable(error)))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _sendable(error: Exception) -> IndexerError:
    """An error that the supervisor can be told: our own as it is, unless it is made of more than a sentence."""
    kind = type(error) if isinstance(error, IndexerError) else IndexerError
    text = str(error) if isinstance(error, IndexerError) else f"{type(error).__name__}: {error}"
    try:
        return kind(text)
    except TypeError:
        return IndexerError(text)


def allow_connections() -> None:
    """Each connection is an open file, of which many systems allow 1,024 unless asked for more."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _controlled(connection: Connection, serve: Serve) -> None:
    control = Control(connection)
    beating = asyncio.create_task(control.beat())
    try:
        await serve(control)
    finally:
        beating.cancel()


def _end_with_supervisor(folder: Path) -> None:
    """End this process, from now on, as soon as the supervisor has ended, and remove what that one left behind."""
    threading.Thread(target=_wait, args=(folder,), name="lifeline", daemon=True).start()


def _wait(folder: Path) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
