"""Interface of a search engine: one of this process, or one behind a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_server.batching.waiting import Inbox
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.search.effort import Plan

if TYPE_CHECKING:
    from lookalike_server.columns.rows import UnindexedVectors


class Queued(NamedTuple):
    """Queue and number of a queued search."""

    lane: Literal["search", "scan"]
    number: int


class SearchEngine(Protocol):
    """Search engine of one space; engine.py documents the methods."""

    entry: IndexEntry

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
    ) -> Queued: ...

    def withdraw(self, queued: Queued) -> None: ...

    @property
    def waiting(self) -> dict[str, int]: ...

    def check_threads(self) -> list[tuple[str, str]]: ...

    @property
    def lost(self) -> str: ...

    @property
    def devices(self) -> list[str]: ...

    def close(self) -> None: ...
