"""Report of a verification as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """A damaged file: its path in the collection, the problem, and the remedy."""

    path: str
    what: str
    mend: str


@dataclass(frozen=True)
class Check:
    """One check: `looked` is the number of checked items, in `unit`. `note` explains omissions, or is ""."""

    name: str
    looked: int
    unit: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The newest readable generation (0 if none), the checks, and the damages."""

    generation: int
    checks: list[Check]
    damages: list[Damage]
