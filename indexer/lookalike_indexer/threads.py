"""Thread budget of the process.

The OpenMP threads of faiss, those of the network and those of gRPC compete for the same CPUs if each uses all of them.
The budget is set only here.
"""

from __future__ import annotations

import os


def processors() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def sleep_while_waiting() -> None:
    """Make OpenMP threads sleep while they wait for each other, instead of spinning.

    Spinning helps only if all CPUs are free: on a shared machine it doubled the time and the CPU time of experiments,
    which are many short parallel steps. Each library's OpenMP reads this when it is loaded, so call it before importing
    faiss, scikit-learn or torch.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
