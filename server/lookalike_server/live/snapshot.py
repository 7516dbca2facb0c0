"""A view: one generation, and the changes to it up to a sequence."""

from __future__ import annotations

import functools
from typing import Any

from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live.clusterings import LiveClustering
from lookalike_server.live.columns import LiveColumns
from lookalike_server.live.filters import LiveFilters
from lookalike_server.live.spaces import LiveSpace


class LiveSnapshot(Snapshot):
    """As `Snapshot`. It never changes; the next change makes another view, which shares most of it.

    Everything that needs closing belongs to `base`.
    """

    def __init__(
        self,
        base: Snapshot,
        sequence: int,
        columns: LiveColumns,
        spaces: dict[str, LiveSpace],
        clusterings: dict[str, LiveClustering],
        filters: LiveFilters,
        added: int,
        gone: int,
    ) -> None:
        """`added` images came since the generation was made and are there, `gone` were deleted or replaced."""
        self._base = base
        self._sequence = sequence
        self.columns, self.filters = columns, filters
        self.spaces = dict(spaces)
        self.clusterings = dict(clusterings)
        self.added, self.gone = added, gone
        self.reader, self.name, self.made = base.reader, base.name, base.made
        self.clustering_notes = base.clustering_notes

    @property
    def base(self) -> Snapshot:
        return self._base

    @property
    def sequence(self) -> int:
        return self._sequence

    @functools.cached_property
    def description(self) -> dict[str, Any]:  # type: ignore[override]
        return {**self._base.description, "images": len(self.columns)}

    def close(self) -> None:
        raise RuntimeError("a view is closed with its generation")
