"""How many fronts a machine is good for."""

from __future__ import annotations

from lookalike_indexer.threads import processors

# With no more processors, more processes are only more work.
_FEW = 3


def automatic_fronts(on_gpu: bool, there: int | None = None) -> int:
    """As many as there are processors, but for those that searching and the engine process's event loop need.

    `there` are the processors, those of this process by default.
    """
    there = processors() if there is None else there
    if there <= _FEW:
        return 1
    searching = 1 if on_gpu else there // 2
    return max(1, there - searching - 1)
