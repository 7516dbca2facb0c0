"""What each worker of a batcher runs, and which of them hang. Used under the batcher's lock."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

from lookalike_server.batching.waiting import Piece

W = TypeVar("W")
R = TypeVar("R")


class RunningBatches(Generic[W, R]):
    """The pieces of each worker's batch, and since when it runs; a worker that recovers has none."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[float, list[Piece[W, R]]]] = {}
        self._hung: set[str] = set()

    def begin(self, worker: str, pieces: list[Piece[W, R]]) -> None:
        """A worker begins to run something."""
        self._running[worker] = time.monotonic(), pieces

    def ended(self, worker: str) -> bool:
        """A worker runs nothing any more; whether it had been taken for hung."""
        self._running.pop(worker, None)
        hung = worker in self._hung
        self._hung.discard(worker)
        return hung

    def overdue(self, limit_s: float) -> dict[str, list[Piece[W, R]]]:
        """The workers that have run for longer than a limit, with what they run; each is told once."""
        now = time.monotonic()
        late = {
            worker: pieces
            for worker, (since, pieces) in self._running.items()
            if worker not in self._hung and now - since > limit_s
        }
        self._hung.update(late)
        return late
