"""A server that belongs to the process that started it, such as a notebook's."""

from __future__ import annotations

import os
import sys
import threading


def end_with_stdin() -> None:
    """Exit this process when its standard input reaches EOF. Returns at once.

    The parent process holds the other end of the pipe, which closes however the parent exits.
    """
    threading.Thread(target=_wait, name="caller", daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)
