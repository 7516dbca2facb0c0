"""Function of a worker, and its errors: shared by local worker processes and those of a cluster."""

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
# Yields one result for each item, in order. It may take items ahead of its results.
Work = Callable[[Iterator[Item], Advance], Iterator[Result]]


@dataclass(frozen=True)
class Failed:
    """The error of a worker: the name of its class if it is one of ours, else "" and a traceback."""

    worker: str
    kind: str
    text: str

    @classmethod
    def of(cls, worker: str, error: Exception) -> Failed:
        """Return the error that is being handled, in the form that a worker reports."""
        if isinstance(error, IndexerError):
            return cls(worker, type(error).__name__, str(error))
        return cls(worker, "", traceback.format_exc())

    def error(self) -> Exception:
        """Return the error to raise in the process that started the workers."""
        kind: Any = getattr(errors, self.kind, None) if self.kind else None
        if isinstance(kind, type) and issubclass(kind, IndexerError):
            return kind(self.text)
        return RuntimeError(f"The worker for {self.worker} failed:\n{self.text}")


def gist(error: BaseException) -> str:
    """Return the last line of an error of Ray, which names the cause."""
    text = str(getattr(error, "cause", None) or error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:240].rstrip(".")
