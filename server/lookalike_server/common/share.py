"""Share of the images that a server searches."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lookalike_indexer.errors import UsageError

_WRITTEN = re.compile(r"(\d{1,4})/(\d{1,4})")


@dataclass(frozen=True)
class Share:
    """Share `number`, from 1, of `of` shares of nearly equal size. Raises UsageError if it does not exist."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(f"--shard {self} is not a valid share; write N/M with N from 1 to M, such as 2/4.")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, written: str) -> Share:
        """Parse a share such as "2/4". Raises UsageError if the text is not a share."""
        found = _WRITTEN.fullmatch(written.strip())
        if found is None:
            raise UsageError(f"--shard {written!r} is not a valid share; write N/M with N from 1 to M, such as 2/4.")
        return cls(int(found[1]), int(found[2]))

    def range_of(self, rows: int) -> tuple[int, int]:
        """Return the range of rows `[start, stop)` of the share."""
        return rows * (self.number - 1) // self.of, rows * self.number // self.of
