"""Interface for progress reports of long operations, independent of the display."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """The progress of one stage."""

    def advance(self, amount: int = 1) -> None:
        """Report that `amount` more units are done."""

    def note(self, text: str) -> None:
        """Show a short text beside the bar, such as the current inertia."""


class Progress(Protocol):
    """A factory of bars, one for each stage."""

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
        """Return a bar over `total` units (None if unknown), of which an earlier run did `done`."""
        ...

    def announce(self, text: str) -> None:
        """Show a sentence before the work that it is about."""


class Silent:
    """Implementation that reports nothing: for libraries and tests."""

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
        yield _SilentBar()

    def announce(self, text: str) -> None:
        pass


class _SilentBar:
    def advance(self, amount: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass
