"""Number of fronts that suits a machine."""

from __future__ import annotations

from lookalike_indexer.threads import processors

# With this many processors or fewer, more processes only add overhead.
_FEW = 3


def automatic_fronts(on_gpu: bool, there: int | None = None) -> int:
    """Return the number of processors minus those for searching and for the engine process's event loop.

    `there` is the number of processors; the default is that of this process.
    """
    there = processors() if there is None else there
    if there <= _FEW:
        return 1
    searching = 1 if on_gpu else there // 2
    return max(1, there - searching - 1)
