"""Worker process that answers requests, for work that would hold the GIL while searches wait."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from lookalike_indexer.errors import DeviceError, IndexerError
from lookalike_indexer.images.lifeline import end_with_parent
from lookalike_server.processes.watchdog import Watchdog, beat

_CLOSE_TIMEOUT_S = 1.0
# Importing a library from a cold disk holds the GIL, and so stops the heartbeat, for many seconds.
_OPENING_SILENCE = 6

Answer = Callable[[Any], Any]
# Called with the name of what has hung, such as a specification's name, and a sentence about it.
OnHang = Callable[[str, str], None]


class HungError(DeviceError):
    """The process had hung and was killed. `late`: it sent heartbeats, but did not answer in time."""

    def __init__(self, message: str, late: bool) -> None:
        super().__init__(message)
        self.late = late


@dataclass(frozen=True)
class WorkerSpec:
    """Task of a worker process.

    `open` must be a module's function, because the process imports it. It takes `argument` and
    returns a context manager, which stays entered while the process lives and yields the answer
    function. `purpose` completes sentences in errors. `niceness` lowers the priority of the
    process. It is killed if it sends no heartbeat for `silence_s` seconds, or for six times as long
    while it opens. It is also killed if it opens for longer than `opening_s`.
    """

    name: str
    purpose: str
    open: Callable[[Any], AbstractContextManager[Answer]]
    argument: Any
    niceness: int = 0
    silence_s: float = 10.0
    opening_s: float = 300.0


class WorkerProcess:
    """A process with one task, started on first use and restarted after it died. Not thread-safe.

    When the process has hung, and before it is killed, `on_hang` is called with the specification's
    name and a sentence.
    """

    def __init__(self, spec: WorkerSpec, on_hang: OnHang = lambda what, sentence: None) -> None:
        self._spec = spec
        self._on_hang = on_hang
        self._process: SpawnProcess | None = None
        self._watchdog: Watchdog | None = None

    @property
    def alive(self) -> bool:
        """True if the process is running and is not being killed. Thread-safe."""
        process, watchdog = self._process, self._watchdog
        if watchdog is not None and watchdog.verdict:
            return False
        try:
            return process is not None and process.is_alive()
        except ValueError:
            return False  # closed by another thread

    @property
    def hung(self) -> bool:
        """True if the process is running and sends no heartbeat. Thread-safe."""
        watchdog = self._watchdog
        return watchdog is not None and watchdog.suspects and self.alive

    def request(self, question: object, limit_s: float) -> Any:
        """Return the answer to a request, within `limit_s` seconds. Raises the errors of `open` and of the answer.

        Raises DeviceError if the process ended, and HungError if it was killed. The next request
        starts another.
        """
        if self._process is not None and not self.alive:
            # It ended while idle, so no caller needs to know.
            self.close()
        watchdog = self._watchdog or self._start()
        with watchdog.within(limit_s):
            # If the process has ended, reading its answer reports that.
            with contextlib.suppress(OSError):
                self._connection.send(question)
            return self._receive(watchdog)

    def close(self) -> None:
        """End the process; its current work is lost."""
        if self._process is None:
            return
        # Its loop ends when the connection closes.
        self._connection.close()
        self._process.join(_CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = self._watchdog = None

    def _start(self) -> Watchdog:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        beats = context.RawValue(ctypes.c_ulonglong)
        spec = self._spec
        # Not a daemon, because daemons cannot have children. `end_with_parent` ends it with this process.
        self._process = context.Process(target=_run, args=(theirs, beats, spec), name=spec.name)
        self._process.start()
        theirs.close()
        watchdog = self._watchdog = Watchdog(self._process, beats, spec.silence_s, self._report_failure)
        try:
            with watchdog.within(spec.opening_s, spec.silence_s * _OPENING_SILENCE):
                self._receive(watchdog)
        except Exception:
            # It exits by itself; another attempt starts another process.
            self.close()
            raise
        return watchdog

    def _receive(self, watchdog: Watchdog) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            what = f"The process that {self._spec.purpose}"
            if watchdog.verdict:
                raise HungError(
                    f"{what} {watchdog.verdict} and was killed; the server starts another one. Retry the call.",
                    watchdog.late,
                ) from error
            raise DeviceError(f"{what} ended; the server starts another one. Retry the call.") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _report_failure(self, why: str) -> None:
        self._on_hang(self._spec.name, f"The process that {self._spec.purpose} {why}; the server replaces it.")


def _run(connection: Connection, beats: ctypes.c_ulonglong, spec: WorkerSpec) -> None:
    """Run the process: open, report that, then answer until the connection closes. Errors are sent as answers."""
    beat(beats)
    end_with_parent()
    # Ctrl-C reaches all processes of a terminal, and systemd's SIGTERM all processes of a service. The server decides
    # when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(spec.niceness)
    with contextlib.ExitStack() as stack:
        try:
            answer = stack.enter_context(spec.open(spec.argument))
        except Exception as error:
            connection.send(_sendable(error))
            return
        connection.send(None)
        while True:
            try:
                question = connection.recv()
            except EOFError:
                return
            try:
                answered = answer(question)
            except Exception as error:
                answered = _sendable(error)
            connection.send(answered)
            # Free both before waiting for the next request.
            del question, answered


def _sendable(error: Exception) -> Exception:
    """Return our own errors as they are; of others, which may hold unpicklable objects, only the text."""
    return error if isinstance(error, IndexerError) else RuntimeError(f"{type(error).__name__}: {error}")
