"""A view: one generation, and the changes to it up to a sequence."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live.changes import Values
from lookalike_server.live.clusterings import LiveClustering
from lookalike_server.live.columns import LiveColumns
from lookalike_server.live.filters import LiveFilters
from lookalike_server.live.overlay import Overlay, Predicted
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
        overlay: Overlay,
        added: int,
        gone: int,
        nbytes: int,
    ) -> None:
        """`added` images came since the generation was made and are there, `gone` were deleted or replaced; `nbytes`
        are those of all vectors that came.
        """
        self._base = base
        self._sequence = sequence
        self.columns: LiveColumns = columns
        self.filters = filters
        self.spaces: dict[str, LiveSpace] = spaces  # type: ignore[assignment]
        self.clusterings = dict(clusterings)
        self._overlay = overlay
        self.added, self.gone, self.nbytes = added, gone, nbytes
        self.reader, self.name, self.made = base.reader, base.name, base.made
        self.clustering_notes = base.clustering_notes

    @property
    def base(self) -> Snapshot:
        return self._base

    @property
    def sequence(self) -> int:
        return self._sequence

    @property
    def added_ever(self) -> int:
        """The images that came since the generation was made, those that are gone again among them."""
        return len(self.columns.ids) - len(self._base.columns.ids)

    @property
    def said(self) -> dict[int, Values]:
        """What was said of the attributes of rows: of new images all of it, of others what was set."""
        return self._overlay.said

    def format_of(self, row: int) -> str:
        """The format of a new image's picture; "" where none was given."""
        return self._overlay.format_of(row)

    def bytes_of(self, row: int) -> int:
        """The bytes of a new image's picture; 0 where none was given."""
        return self._overlay.bytes_of(row)

    def uri_of(self, row: int) -> str:
        """Where the collection keeps a new image's picture, as it is stored; "" where vectors were given."""
        return self._overlay.uri_of(row)

    @property
    def predictions(self) -> Mapping[str, Predicted]:
        """What each model takes new pictures for."""
        return self._overlay.predictions

    @functools.cached_property
    def description(self) -> dict[str, Any]:  # type: ignore[override]
        return {**self._base.description, "images": len(self.columns)}

    def close(self) -> None:
        raise RuntimeError("a view is closed with its generation")
