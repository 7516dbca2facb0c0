"""What processes of tests do; a module of its own, because they import it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lookalike_server.processes.worker_process import Answer


@contextmanager
def obeying(flag: str) -> Iterator[Answer]:
    """Does not open as long as a file is there; answers commands."""
    while Path(flag).exists():
        time.sleep(0.01)
    yield _obey


def _obey(command: str) -> object:
    if command == "hang":
        time.sleep(600)
    if command == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if command == "end":
        os._exit(3)
    return os.getpid()
