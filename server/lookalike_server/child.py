"""A process that answers questions, for work that would hold the interpreter's lock while searches wait for it."""

from __future__ import annotations

import contextlib
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

_PATIENCE_S = 1.0

Answer = Callable[[Any], Any]


@dataclass(frozen=True)
class Role:
    """What a process is for.

    `opened` is a module's function, since the process has to import it: it
    takes `opening` and is entered for as long as the process lives, giving
    what answers. `does` ends a sentence; `niceness` is how far the process
    steps back behind others.
    """

    name: str
    does: str
    opened: Callable[[Any], AbstractContextManager[Answer]]
    opening: Any
    niceness: int = 0


class Child:
    """A process in its role, started when it is first asked, and again when it has died; to be used by one thread."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._process: SpawnProcess | None = None

    @property
    def alive(self) -> bool:
        """Whether its process is there. From any thread."""
        process = self._process
        try:
            return process is not None and process.is_alive()
        except ValueError:
            return False  # closed meanwhile

    def ask(self, question: object) -> Any:
        """The answer. Errors are those of `opened` and of the answer.

        DeviceError: the process ended; the next question starts another.
        """
        if self._process is None:
            self._start()
        # A process that has ended is noticed when its answer is read.
        with contextlib.suppress(OSError):
            self._connection.send(question)
        return self._receive()

    def close(self) -> None:
        """End the process; what it was doing is lost."""
        if self._process is None:
            return
        # Its loop ends when the connection does.
        self._connection.close()
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # No daemon: those may have no children, and it may want some. Its lifeline ends it with us.
        self._process = context.Process(target=_run, args=(theirs, self._role), name=self._role.name)
        self._process.start()
        theirs.close()
        try:
            self._receive()
        except Exception:
            # It ends by itself; another attempt is another process.
            self.close()
            raise

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise DeviceError(f"The process that {self._role.does} ended; another is started, ask again.") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def _run(connection: Connection, role: Role) -> None:
    """The process: open, say so, then answer until the connection ends. Errors are answers, too."""
    end_with_parent()
    # Ctrl-C reaches every process of a terminal; the server decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(role.niceness)
    with contextlib.ExitStack() as stack:
        try:
            answer = stack.enter_context(role.opened(role.opening))
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
