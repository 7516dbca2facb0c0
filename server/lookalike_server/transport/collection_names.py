"""The names of a server's collections, which of them a call is about, and which of them its caller may ask about.

Access notes a caller whose token is limited; the request that names the
collection is read after that, and asks here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from lookalike_indexer.errors import NotFoundError
from lookalike_server.common.errors import ForbiddenError
from lookalike_server.transport.tokens import Caller

_LIMITED: ContextVar[Caller | None] = ContextVar("lookalike_limited_caller", default=None)


def limit_to(caller: Caller) -> None:
    """Let the call of this task be about the collections of its caller alone."""
    _LIMITED.set(caller)


def limited() -> Caller | None:
    """The caller of this task, if it may only ask about some of the collections."""
    return _LIMITED.get()


class CollectionNames:
    """The collections of one server, by name and in order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._known = frozenset(names)

    def chosen(self, asked: str) -> str:
        """The name of the collection that a request asks about: for "" the first one that its caller may ask about.

        NotFoundError: there is none of that name. ForbiddenError: the token is not for it.
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
        """The names of the collections that the caller may ask about, which are all that this one hears of."""
        caller = _LIMITED.get()
        if caller is None:
            return self._names
        return tuple(name for name in self._names if name in caller.collections)


def _allowed(caller: Caller, asked: str, names: Sequence[str]) -> str:
    """As `chosen`, of the collections that a limited caller may ask about and that there are."""
    if asked in names:
        return asked
    if names and not asked:
        return names[0]
    told = f"The token of {caller.name} is for: {', '.join(caller.collections)}"
    if not names:
        raise ForbiddenError(f"{told}; this server has none of them.")
    raise ForbiddenError(f"{told}; ask about one of them, not about {asked!r}.")
