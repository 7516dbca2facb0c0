"""What verification found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be: its path in the collection, what is wrong, and how to mend it."""

    path: str
    what: str
    mend: str


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `looked` of `unit`. `note` says what was left out, and why; "" when nothing was."""

    name: str
    looked: int
    unit: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The newest generation that can be read (0 when none can), what was looked at, and what is damaged."""

    generation: int
    checks: list[Check]
    damages: list[Damage]
