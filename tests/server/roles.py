"""Functions of child processes of tests, in a module of their own, because the processes import it."""

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
    """Delay opening while a file exists; then answer commands."""
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
