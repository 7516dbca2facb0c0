"""Filter errors and their positions."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.errors import UsageError


@dataclass(frozen=True)
class FilterPosition:
    """A position in a filter: the path of a field, and the character (from 1) if it is text."""

    field: str = "filter"
    character: int | None = None


class FilterError(UsageError):
    """An invalid filter, or one that does not fit this collection; `at` is the position."""

    def __init__(self, at: FilterPosition, sentence: str) -> None:
        where = f"at {at.field}" if at.character is None else f"at character {at.character} of the filter"
        super().__init__(f"{sentence} ({where}).")
        self.at = at
        self._sentence = sentence

    def __reduce__(self) -> tuple[type[FilterError], tuple[FilterPosition, str]]:
        # Needed to pickle the error across a process boundary.
        return FilterError, (self.at, self._sentence)
