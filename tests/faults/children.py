"""Commands in processes forked from one that has imported everything and has no threads."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

_LONGEST_S = 300.0


@dataclass(frozen=True)
class Outcome:
    """Result of a process: its exit code or minus the signal, its output, and its duration in seconds."""

    code: int
    said: str
    seconds: float


def run_in_child(work: Callable[[], None], kill_after: float | None = None) -> Outcome:
    """Run a function in a forked child; kill it with SIGKILL after a number of seconds if it is still running."""
    reader, writer = os.pipe()
    began = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_the_child(work, writer)
    os.close(writer)
    said = b""
    end = began + (_LONGEST_S if kill_after is None else kill_after)
    hung = False
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
        if ready:
            data = os.read(reader, 1 << 16)
            if not data:
                break
            said += data
        else:
            hung = kill_after is None
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            end = time.monotonic() + _LONGEST_S
    os.close(reader)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    text = said.decode(errors="replace") + ("\nIt hung." if hung else "")
    return Outcome(code, text, time.monotonic() - began)


def _be_the_child(work: Callable[[], None], writer: int) -> None:
    code = 70
    try:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.close(writer)
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # of any kind: the parent must receive it
        os.write(2, traceback.format_exc().encode())
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
