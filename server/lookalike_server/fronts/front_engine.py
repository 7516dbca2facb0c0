"""Search engine of a front: forwards searches to the engine process."""

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
    from lookalike_server.columns.rows import UnindexedVectors


class FrontEngine:
    """SearchEngine for the calls of a front. Each search belongs to the current call of its task (own_call.py).

    The engine process reports lost devices, queued searches, and hung threads.
    """

    def __init__(self, space: int, entry: IndexEntry) -> None:
        """`space` is its position in the manifest."""
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
        live: UnindexedVectors | None = None,
    ) -> Queued:
        """Queue a search, as Engine.put does, for the peer of the current call.

        Errors go to the inbox. Raises DeviceError if the engine process is gone.
        """
        if mask is not None or live is not None:
            raise RuntimeError("a front asks for no search with a mask")
        return Queued("search", current_call().find(self._space, queries, k, plan, ticket, inbox, deadline))

    def withdraw(self, queued: Queued) -> None:
        """Do nothing: the end of the call withdraws its searches."""

    @property
    def waiting(self) -> dict[str, int]:
        return {"search": 0, "scan": 0}

    def check_threads(self) -> list[tuple[str, str]]:
        return []

    @property
    def lost(self) -> str:
        return ""

    @property
    def devices(self) -> list[str]:
        return []

    def close(self) -> None:
        """Do nothing: the engine process closes its engines."""
