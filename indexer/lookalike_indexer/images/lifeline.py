"""Lifeline of a child process: it ends with its parent, however the parent ends."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Make this process end as soon as its parent has ended. Returns at once.

    A busy process notices its parent's death only after its task, which never ends if a decoder hangs.
    """
    threading.Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
