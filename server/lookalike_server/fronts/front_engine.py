"""The engine of a space as a front has it: searches go to the engine process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_server.batching.waiting import Inbox
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.fronts.own_call import current_call
from lookalike_server.search.effort import Plan
from lookalike_server.search.search_engine import Queued

if TYPE_CHECKING:
    from lookalike_server.columns.rows import Beside


class FrontEngine:
    """A SearchEngine for the calls of a front, each of which is the current one of its task, see own_call.py.

    Which device is lost, what waits and what hangs is told by the engine process.
    """

    def __init__(self, space: int, entry: IndexEntry) -> None:
        """`space` is its place in the manifest."""
        self._space = space
        self.entry = entry

    def put(
        self,
        queries: Float32,
        k: int,
        plan: Plan,
        mask: RowMask | None,
        ticket: int,
        inbox: Inbox,
        peer: str = "",
        deadline: float | None = None,
        live: Beside | None = None,
    ) -> Queued:
        """As Engine.put. The peer is that of the call. Errors come to the inbox; DeviceError: nobody is there."""
        if mask is not None or live is not None:
            raise RuntimeError("a front asks for no search with a mask")
        return Queued("search", current_call().find(self._space, queries, k, plan, ticket, inbox, deadline))

    def withdraw(self, queued: Queued) -> None:
        """Nothing: the end of its call takes a search back."""

    @property
    def waiting(self) -> dict[str, int]:
        return {"search": 0, "scan": 0}

    def look(self) -> list[tuple[str, str]]:
        return []

    @property
    def lost(self) -> str:
        return ""

    @property
    def devices(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing: the engine process closes what it has."""
