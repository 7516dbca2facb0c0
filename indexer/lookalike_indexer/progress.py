"""How long work reports where it is, without knowing who is looking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """One stage's progress."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more units are done."""

    def note(self, text: str) -> None:
        """Show a short text beside the bar, such as the current inertia."""


class Progress(Protocol):
    """Makes a bar for each stage."""

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
        """A bar over `total` units (None when unknown), of which `done` were done by an earlier run."""
        ...

    def say(self, text: str) -> None:
        """Tell a sentence before the work that it is about."""


class Silent:
    """Reports nothing: for libraries and tests."""

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
        yield _SilentBar()

    def say(self, text: str) -> None:
        pass


class _SilentBar:
    def advance(self, amount: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass
