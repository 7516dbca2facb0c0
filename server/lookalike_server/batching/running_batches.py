"""Batches that run now, by worker, and detection of hung ones. Used under the batcher's lock."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

from lookalike_server.batching.waiting import Piece

W = TypeVar("W")
R = TypeVar("R")


class RunningBatches(Generic[W, R]):
    """Start time and pieces of each worker's batch. A recovering worker has no pieces."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[float, list[Piece[W, R]]]] = {}
        self._hung: set[str] = set()

    def begin(self, worker: str, pieces: list[Piece[W, R]]) -> None:
        """Record that a worker began a batch or a recovery."""
        self._running[worker] = time.monotonic(), pieces

    def ended(self, worker: str) -> bool:
        """Record that a worker finished. Return True if it had been reported as hung."""
        self._running.pop(worker, None)
        hung = worker in self._hung
        self._hung.discard(worker)
        return hung

    def overdue(self, limit_s: float) -> dict[str, list[Piece[W, R]]]:
        """Return the workers that newly exceed the limit, with their pieces. Each is reported once."""
        now = time.monotonic()
        late = {
            worker: pieces
            for worker, (since, pieces) in self._running.items()
            if worker not in self._hung and now - since > limit_s
        }
        self._hung.update(late)
        return late
