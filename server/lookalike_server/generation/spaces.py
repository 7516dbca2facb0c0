"""A served embedding space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.manifest import IndexEntry, SpaceEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotBuiltError, NotFoundError
from lookalike_server.columns.ids import Ids
from lookalike_server.columns.row_mask import Remaining, RowMask
from lookalike_server.columns.space_images import SpaceImages
from lookalike_server.columns.stored_vectors import StoredVectors
from lookalike_server.search.effort import Planner
from lookalike_server.search.search_engine import SearchEngine

# A front process does not need it, so it does not load faiss.
if TYPE_CHECKING:
    from lookalike_indexer.indexing.two_stage import Projection
    from lookalike_server.columns.rows import Rows


@dataclass(frozen=True)
class Search:
    """Search engine and planner of a space with an index. `notes` are added to each reply.

    `rows` is None if another process has the index. `projection` is that of its first stage, None
    without such a stage.
    """

    engine: SearchEngine
    planner: Planner
    images: SpaceImages
    rows: Rows | None
    notes: tuple[str, ...] = ()
    projection: Projection | None = None


class Space:
    """A space: rows, ids, stored vectors, and the engine that searches it if it has an index."""

    def __init__(
        self, reader: CollectionReader, name: str, ids: Int64, stored: StoredVectors, search: Search | None
    ) -> None:
        self.name = name
        self.entry: SpaceEntry = reader.manifest.spaces[name]
        model = reader.manifest.models[self.entry.model].spec
        self.pretrained = model.weights.pretrained
        self.arch = model.arch
        self.takes_text = reader.manifest.space_spec(name).takes_text
        self.described = f"{name} ({model.arch}, weights {model.weights}, {self.entry.layer}, {self.entry.pooling})"
        self.ids = ids
        self._rows_by_id = Ids(ids)
        self._reader = reader
        self._stored = stored
        self._search = search

    @property
    def searchable(self) -> bool:
        """True if it has an index."""
        return self._search is not None

    @property
    def engine(self) -> SearchEngine:
        """Engine that searches the space. Raises NotBuiltError if it has no index."""
        return self._built().engine

    @property
    def planner(self) -> Planner:
        """Planner of searches. Raises NotBuiltError if the space has no index."""
        return self._built().planner

    @property
    def images(self) -> SpaceImages:
        """Ids and texts of its hits. Raises NotBuiltError if the space has no index."""
        return self._built().images

    @property
    def remaining(self) -> Remaining | None:
        """Rows of images that are not deleted; None if none is deleted. Raises NotBuiltError if it has no index."""
        return self._built().images.remaining

    @property
    def count(self) -> int:
        """Number of images that a search can find. Raises NotBuiltError if the space has no index."""
        images = self._built().images
        return len(images.ids) if images.remaining is None else images.remaining.count

    def mask(self, images: Bools) -> RowMask:
        """Return the rows that a search may return, given the allowed `images`, indexed by rows of `Columns`.

        Raises NotBuiltError if the space has no index.
        """
        return self._built().images.mask(images)

    @property
    def rows(self) -> Rows:
        """Images that its rows stand for. Raises NotBuiltError if the space has no index."""
        rows = self._built().rows
        if rows is None:
            raise RuntimeError(f"The index of the space {self.name} is in another process.")
        return rows

    @property
    def projection(self) -> Projection | None:
        """Projection of the index's first stage; None without such a stage, or without an index."""
        return None if self._search is None else self._search.projection

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes about the index for each reply. Raises NotBuiltError if the space has no index."""
        return self._built().notes

    @property
    def index(self) -> IndexEntry | None:
        """The served index, or None if the space has none."""
        return None if self._search is None else self._search.engine.entry

    def rows_of_ids(self, ids: Int64, names: Sequence[object]) -> Int64:
        """Return the rows of some images. `names` are the caller's names for them.

        Raises NotFoundError if one has no embedding.
        """
        rows, found = self._rows_by_id.rows(ids)
        if not found.all():
            raise NotFoundError(
                f"The image {names[int(np.argmin(found))]!r} has no embedding in the space {self.name}; "
                "query by the bytes of the image."
            )
        return rows

    def vectors(self, rows: Int64) -> Float32:
        """Return the stored embeddings of some rows, (n, dim). Reads from the disk: not for the event loop."""
        return self._stored.read(rows)

    def close(self) -> None:
        if self._search is not None:
            self._search.engine.close()

    def _built(self) -> Search:
        if self._search is None:
            self._reader.index(self.name)
            raise NotBuiltError(f"This server does not serve the index of the space {self.name}.")
        return self._search
