"""What a worker does, and what it tells: shared by the processes of one machine and by those of several."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from lookalike_indexer import errors
from lookalike_indexer.errors import IndexerError

Item = TypeVar("Item")
Result = TypeVar("Result")
Advance = Callable[[int], None]
# One result for each item, in their order. It may take items ahead of the results that it gives.
Work = Callable[[Iterator[Item], Advance], Iterator[Result]]


@dataclass(frozen=True)
class Failed:
    """A worker's error: the name of its class when it is one of ours, else "" and a traceback."""

    worker: str
    kind: str
    text: str

    @classmethod
    def of(cls, worker: str, error: Exception) -> Failed:
        """What a worker tells of an error while it is being handled."""
        if isinstance(error, IndexerError):
            return cls(worker, type(error).__name__, str(error))
        return cls(worker, "", traceback.format_exc())

    def error(self) -> Exception:
        """The error to raise where the workers were started."""
        kind: Any = getattr(errors, self.kind, None) if self.kind else None
        if isinstance(kind, type) and issubclass(kind, IndexerError):
            return kind(self.text)
        return RuntimeError(f"The worker for {self.worker} failed:\n{self.text}")
