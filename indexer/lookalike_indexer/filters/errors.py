"""What is wrong with a filter, and where."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.errors import UsageError


@dataclass(frozen=True)
class At:
    """A place in a filter: the path of a field, and the character of the text (from 1) where it was one."""

    field: str = "filter"
    character: int | None = None


class FilterError(UsageError):
    """A filter cannot be read, or means nothing for this collection; `at` is where."""

    def __init__(self, at: At, sentence: str) -> None:
        where = f"at {at.field}" if at.character is None else f"at character {at.character} of the filter"
        super().__init__(f"{sentence} ({where}).")
        self.at = at
        self._sentence = sentence

    def __reduce__(self) -> tuple[type[FilterError], tuple[At, str]]:
        # Without this, an error that crosses a process boundary could not be made again.
        return FilterError, (self.at, self._sentence)
