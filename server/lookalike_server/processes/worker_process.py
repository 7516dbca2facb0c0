"""A process that answers questions, for work that would hold the interpreter's lock while searches wait for it."""

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
# Importing a library from a cold disk holds the interpreter's lock, and so the pulse, for many seconds.
_OPENING_SILENCE = 6

Answer = Callable[[Any], Any]
# Is told what hung, such as the name of a specification, and a sentence about it.
OnHang = Callable[[str, str], None]


class HungError(DeviceError):
    """The process had hung and was killed; `late` tells that it gave signs of life, but no answer in time."""

    def __init__(self, message: str, late: bool) -> None:
        super().__init__(message)
        self.late = late


@dataclass(frozen=True)
class WorkerSpec:
    """The task of a worker process.

    `open` is a module's function, since the process has to import it: it
    takes `argument` and is entered for as long as the process lives, giving
    what answers. `purpose` ends a sentence; `niceness` is how far the process
    steps back behind others. It is killed when it gives no sign of life for
    `silence_s` seconds, six times as many while it opens, or opens for longer
    than `opening_s`.
    """

    name: str
    purpose: str
    open: Callable[[Any], AbstractContextManager[Answer]]
    argument: Any
    niceness: int = 0
    silence_s: float = 10.0
    opening_s: float = 300.0


class WorkerProcess:
    """A process with one task, started when it is first asked, and again when it has died; to be used by one thread.

    `on_hang` is told the name in the specification and a sentence when the process has hung, before it is killed.
    """

    def __init__(self, spec: WorkerSpec, on_hang: OnHang = lambda what, sentence: None) -> None:
        self._spec = spec
        self._on_hang = on_hang
        self._process: SpawnProcess | None = None
        self._watchdog: Watchdog | None = None

    @property
    def alive(self) -> bool:
        """Whether its process is there, and is not being killed. From any thread."""
        process, watchdog = self._process, self._watchdog
        if watchdog is not None and watchdog.verdict:
            return False
        try:
            return process is not None and process.is_alive()
        except ValueError:
            return False  # closed meanwhile

    @property
    def hung(self) -> bool:
        """Whether its process is there and gives no sign of life. From any thread."""
        watchdog = self._watchdog
        return watchdog is not None and watchdog.suspects and self.alive

    def ask(self, question: object, limit_s: float) -> Any:
        """The answer, within `limit_s` seconds. Errors are those of `open` and of the answer.

        DeviceError: the process ended; HungError: it was killed. The next
        question starts another.
        """
        if self._process is not None and not self.alive:
            # It ended while nobody asked, and nobody needs to hear of it.
            self.close()
        watchdog = self._watchdog or self._start()
        with watchdog.within(limit_s):
            # Where the process has ended, that is noticed when its answer is read.
            with contextlib.suppress(OSError):
                self._connection.send(question)
            return self._receive(watchdog)

    def close(self) -> None:
        """End the process; what it was doing is lost."""
        if self._process is None:
            return
        # Its loop ends when the connection does.
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
        # No daemon: those may have no children, and it may want some. Its lifeline ends it with us.
        self._process = context.Process(target=_run, args=(theirs, beats, spec), name=spec.name)
        self._process.start()
        theirs.close()
        watchdog = self._watchdog = Watchdog(self._process, beats, spec.silence_s, self._tell)
        try:
            with watchdog.within(spec.opening_s, spec.silence_s * _OPENING_SILENCE):
                self._receive(watchdog)
        except Exception:
            # It ends by itself; another attempt is another process.
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
                    f"{what} {watchdog.verdict} and was killed; another is started, ask again.", watchdog.late
                ) from error
            raise DeviceError(f"{what} ended; another is started, ask again.") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _tell(self, why: str) -> None:
        self._on_hang(self._spec.name, f"The process that {self._spec.purpose} {why}: it is killed and replaced.")


def _run(connection: Connection, beats: ctypes.c_ulonglong, spec: WorkerSpec) -> None:
    """The process: open, say so, then answer until the connection ends. Errors are answers, too."""
    beat(beats)
    end_with_parent()
    # Ctrl-C reaches every process of a terminal, and systemd's SIGTERM every one of a service; the server decides when
    # this one ends.
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
            # Neither may live until the next question.
            del question, answered


def _sendable(error: Exception) -> Exception:
    """Our own errors as they are; of others, which may hold anything, the words."""
    return error if isinstance(error, IndexerError) else RuntimeError(f"{type(error).__name__}: {error}")
