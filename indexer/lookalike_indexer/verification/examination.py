"""State of the verification of one generation: settings, checks and damages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.progress import Progress
from lookalike_indexer.verification.remedies import mend
from lookalike_indexer.verification.report import Check, Damage


@dataclass(frozen=True)
class VerifySettings:
    """`deep` checks everything; otherwise `rows` of each table that is too long, and `images` of each model.

    `seed` chooses them.
    """

    deep: bool = False
    rows: int = 256
    images: int = 8
    seed: int = 0


@dataclass
class Examination:
    """Collects checks and damages. A damaged file is not read again, because its content is meaningless."""

    reader: CollectionReader
    settings: VerifySettings
    progress: Progress
    checks: list[Check] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    _damaged: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._damaged.update(damage.path for damage in self.damages)

    def damaged(self, path: str, what: str) -> None:
        """Record a damage, only the first one of each file."""
        if self.intact([path]):
            advice = mend(self.reader.manifest, self.reader.storage, path)
            self.damages.append(Damage(path, what, advice))
            self._damaged.add(path)

    def intact(self, paths: Iterable[str]) -> bool:
        """Return whether none of these files is known to be damaged."""
        return self._damaged.isdisjoint(paths)

    def checked(self, name: str, looked: int, unit: str, note: str = "") -> None:
        self.checks.append(Check(name, looked, unit, note))
