"""Progress bars in a terminal; nothing where the output is not one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from lookalike_indexer.progress import Bar


class TerminalProgress:
    """Bars with rate and time left on standard error, only when that is a terminal."""

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
        # None for `disable` means: decide by whether the stream is a terminal.
        with tqdm(desc=name, total=total, unit=unit, initial=done, disable=None, dynamic_ncols=True, leave=True) as bar:
            yield _TqdmBar(bar)


class _TqdmBar:
    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar

    def advance(self, amount: int = 1) -> None:
        self._bar.update(amount)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(text)
