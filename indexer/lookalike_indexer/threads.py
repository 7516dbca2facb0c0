"""One thread budget for the process.

The OpenMP threads of faiss, those of the network and those of gRPC fight for
the same processors when each takes as many as there are. The budget is set
here and nowhere else.
"""

from __future__ import annotations

import os


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def sleep_while_waiting() -> None:
    """Let OpenMP's threads sleep where they wait for each other, instead of spinning.

    Spinning helps only where all processors are free: on a shared machine it
    doubled the seconds and the processor time of experiments, which are many
    short parallel pieces. Each library's OpenMP reads this when it is loaded,
    so it must be said before faiss, scikit-learn or torch are imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
