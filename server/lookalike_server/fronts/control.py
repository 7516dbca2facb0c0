"""Main loop of a child process, and its pipe to the supervisor. Shared by fronts and engine process."""

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

# From the supervisor: "stop" with the seconds that calls may take, "reload". From the child: "ready" with a result,
# "failed" with an error, "ending" with the reason why the server should end, "alive" every second.
Word = Literal["stop", "reload", "ready", "failed", "ending", "alive"]


@dataclass(frozen=True)
class Logs:
    """Log format of all processes, and the file of the security log, if there is one."""

    form: Literal["text", "json"] = "text"
    security: Path | None = None


@dataclass(frozen=True)
class Common:
    """Arguments of every process of a server. `folder` contains the engine's socket and belongs to this server only."""

    settings: ServeSettings
    folder: Path
    logs: Logs

    @property
    def socket(self) -> Path:
        """Socket where the engine process accepts fronts."""
        return self.folder / "engine"

    @property
    def shared(self) -> Path:
        """Folder where the engine process writes files that fronts map."""
        return self.folder / "generations"


class Control:
    """Connection of a child process to its supervisor. For the child's event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Its result is the seconds that calls may take when the process should stop.
        self.stopping: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.on_reload: Callable[[], None] = lambda: None
        asyncio.get_running_loop().add_reader(connection.fileno(), self._read)

    def send(self, word: Word, what: Any = None) -> None:
        """Send a word to the supervisor."""
        self._connection.send((word, what))

    async def beat(self) -> None:
        """Send heartbeats forever."""
        while True:
            self.send("alive")
            await asyncio.sleep(_BEAT_S)

    def _read(self) -> None:
        try:
            word, what = self._connection.recv()
        except (EOFError, OSError):
            # The supervisor has exited, and the lifeline thread ends this process.
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            return
        if word == "stop" and not self.stopping.done():
            self.stopping.set_result(what)
        elif word == "reload":
            self.on_reload()


# Runs the process until it is told to stop.
Serve = Callable[[Control], Coroutine[Any, Any, None]]


def run_process(connection: Connection, common: Common, serve: Serve) -> NoReturn:
    """Run a child process until its supervisor ends it, or an error does, which is reported to the supervisor."""
    _end_with_supervisor(common.folder)
    # Ctrl-C reaches all processes of a terminal, and systemd's SIGTERM all processes of a service. The supervisor
    # decides when this process ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Imported here, because the supervisor does not need it.
    from lookalike_server.observe.logs import configure
    from lookalike_server.observe.security import keep_in

    configure(common.logs.form, multiprocessing.current_process().name)
    code = 0
    try:
        if common.logs.security is not None:
            keep_in(common.logs.security)
        allow_connections()
        # Exclude imported objects from garbage collection, which would take a twentieth of a call's time.
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
    """Return an error that can be pickled for the supervisor: an IndexerError of the same type if a text suffices."""
    kind = type(error) if isinstance(error, IndexerError) else IndexerError
    text = str(error) if isinstance(error, IndexerError) else f"{type(error).__name__}: {error}"
    try:
        return kind(text)
    except TypeError:
        return IndexerError(text)


def allow_connections() -> None:
    """Raise the limit of open files: each connection is one, and many systems default to 1,024."""
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
    """Exit this process when the supervisor exits, and remove what that one left behind."""
    threading.Thread(target=_wait, args=(folder,), name="lifeline", daemon=True).start()


def _wait(folder: Path) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
