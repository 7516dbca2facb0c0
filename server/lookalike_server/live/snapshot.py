"""View: one generation, and its changes up to a sequence."""

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
    """A `Snapshot` with changes. Immutable; the next change makes another view, which shares most of its data.

    Everything that must be closed belongs to `base`.
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
        """`added` is the number of added images that are not deleted; `gone` is that of deleted or replaced images.

        `nbytes` is the size of all added vectors.
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
        """Number of images added since the generation was made, including deleted ones."""
        return len(self.columns.ids) - len(self._base.columns.ids)

    @property
    def said(self) -> dict[int, Values]:
        """Changed attribute values by row: all values of new images, and the set values of others."""
        return self._overlay.said

    def format_of(self, row: int) -> str:
        """Return the format of a new image; "" if it came as a vector."""
        return self._overlay.format_of(row)

    def bytes_of(self, row: int) -> int:
        """Return the bytes of a new image; 0 if it came as a vector."""
        return self._overlay.bytes_of(row)

    def uri_of(self, row: int) -> str:
        """Return the stored URI of a new image's file; "" if it came as a vector."""
        return self._overlay.uri_of(row)

    @property
    def predictions(self) -> Mapping[str, Predicted]:
        """Each model's predictions for new images."""
        return self._overlay.predictions

    @functools.cached_property
    def description(self) -> dict[str, Any]:  # type: ignore[override]
        return {**self._base.description, "images": len(self.columns)}

    def close(self) -> None:
        raise RuntimeError("a view is closed with its generation")
