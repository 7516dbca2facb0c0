"""Collections of a server: which one a call is about, and which ones its caller may ask about.

Access notes a caller whose token is limited. The request that names the collection is read later,
and is checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from lookalike_indexer.errors import NotFoundError
from lookalike_server.common.errors import ForbiddenError
from lookalike_server.transport.tokens import Caller

_LIMITED: ContextVar[Caller | None] = ContextVar("lookalike_limited_caller", default=None)


def limit_to(caller: Caller) -> None:
    """Limit the call of this task to the collections of its caller."""
    _LIMITED.set(caller)


def limited() -> Caller | None:
    """Return the caller of this task if its token is limited to collections, else None."""
    return _LIMITED.get()


class CollectionNames:
    """Collections of one server, by name and in order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._known = frozenset(names)

    def resolve(self, asked: str) -> str:
        """Return the collection that a request names; for "", the first one that its caller may ask about.

        Raises NotFoundError if it does not exist, and ForbiddenError if the token is not for it.
        """
        caller = _LIMITED.get()
        if caller is not None:
            return _allowed(caller, asked, self.visible())
        if not asked:
            return self._names[0]
        if asked not in self._known:
            raise NotFoundError(f"This server has no collection {asked!r}; it has: {', '.join(self._names)}.")
        return asked

    def visible(self) -> tuple[str, ...]:
        """Return the names of the collections that the caller may ask about. No others are disclosed to it."""
        caller = _LIMITED.get()
        if caller is None:
            return self._names
        return tuple(name for name in self._names if name in caller.collections)


def _allowed(caller: Caller, asked: str, names: Sequence[str]) -> str:
    """Return what `chosen` returns for a limited caller, whose permitted collections that exist are `names`."""
    if asked in names:
        return asked
    if names and not asked:
        return names[0]
    told = f"The token of {caller.name} is limited to: {', '.join(caller.collections)}"
    if not names:
        raise ForbiddenError(f"{told}; this server has none of them.")
    raise ForbiddenError(f"{told}; request one of them, not {asked!r}.")
