"""Progress on standard error: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

from lookalike_indexer.progress import Bar

# Seconds between two lines without a terminal. Shorter stages print none.
INTERVAL_S = 10.0


class TerminalProgress:
    """Shows bars with rate and remaining time in a terminal, and a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
        if not sys.stderr.isatty():
            yield LineBar(name, total, unit, done)
            return
        with tqdm(desc=name, total=total, unit=unit, initial=done, dynamic_ncols=True, leave=True) as bar:
            yield _TqdmBar(bar)

    def announce(self, text: str) -> None:
        """Print a sentence on standard error, once."""
        if text not in self._said:
            self._said.add(text)
            click.echo(text, err=True)


class LineBar:
    """Prints progress in lines such as "Embedding: 1,024 of 2,000 images, 85.3 a second, 00:11 left".

    The first step often loads something, so the rate excludes it. The remaining time appears from the second step on.
    """

    def __init__(self, name: str, total: int | None, unit: str, done: int) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._before = self._done = done
        self._note = ""
        self._began = self._told = time.monotonic()
        self._steps = 0

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        self._steps += 1
        now = time.monotonic()
        if now - self._told >= INTERVAL_S:
            self._told = now
            click.echo(self._line(now - self._began), err=True)
        if self._steps == 1:
            self._began, self._before = now, self._done

    def note(self, text: str) -> None:
        self._note = text

    def _line(self, seconds: float) -> str:
        counted = f"{self._done:,}" if self._total is None else f"{self._done:,} of {self._total:,}"
        unit = self._unit if self._unit.endswith("s") else f"{self._unit}s"
        rate = (self._done - self._before) / seconds if seconds > 0 else 0.0
        speed = f"{1 / rate:.1f} s each" if 0 < rate < 1 else f"{rate:.1f} a second"
        parts = [f"{self._name}: {counted} {unit}", speed]
        if self._total is not None and rate > 0 and self._steps > 1:
            parts.append(f"{tqdm.format_interval((self._total - self._done) / rate)} left")
        return ", ".join([*parts, self._note] if self._note else parts)


class _TqdmBar:
    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar
        self._steps = 0

    def advance(self, amount: int = 1) -> None:
        self._steps += 1
        if self._steps == 1:
            # The rate excludes the first step, as in LineBar.
            self._bar.unpause()
        self._bar.update(amount)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(text)
