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
