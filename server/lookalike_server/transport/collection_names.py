"""The names of a server's collections, and which of them a call is about."""

from __future__ import annotations

from collections.abc import Sequence

from lookalike_indexer.errors import NotFoundError


class CollectionNames:
    """The collections of one server, by name and in order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._known = frozenset(names)

    def chosen(self, asked: str) -> str:
        """The name of the collection that a request asks about: the first one for "".

        NotFoundError: there is none of that name.
        """
        if not asked:
            return self._names[0]
        if asked not in self._known:
            raise NotFoundError(f"This server has no collection {asked!r}; it has: {', '.join(self._names)}.")
        return asked

    def visible(self) -> tuple[str, ...]:
        """The names that the caller may know."""
        return self._names
