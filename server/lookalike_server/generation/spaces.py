"""One embedding space as it is served."""

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

# A front has none of these, and loads no faiss.
if TYPE_CHECKING:
    from lookalike_server.columns.rows import Rows


@dataclass(frozen=True)
class Search:
    """What a space with an index is searched by. `notes` are what each reply has to say of the index.

    `rows` is None where another process has the index.
    """

    engine: SearchEngine
    planner: Planner
    images: SpaceImages
    rows: Rows | None
    notes: tuple[str, ...] = ()


class Space:
    """A space's rows and ids, its stored vectors and, when it has an index, the engine that searches it."""

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
        """Whether it has an index."""
        return self._search is not None

    @property
    def engine(self) -> SearchEngine:
        """NotBuiltError when the space has no index."""
        return self._built().engine

    @property
    def planner(self) -> Planner:
        """NotBuiltError when the space has no index."""
        return self._built().planner

    @property
    def images(self) -> SpaceImages:
        """The ids and texts of its hits. NotBuiltError when the space has no index."""
        return self._built().images

    @property
    def remaining(self) -> Remaining | None:
        """The rows whose images were not deleted; None where all are there. NotBuiltError when it has no index."""
        return self._built().images.remaining

    @property
    def count(self) -> int:
        """How many images a search can find. NotBuiltError when the space has no index."""
        images = self._built().images
        return len(images.ids) if images.remaining is None else images.remaining.count

    def mask(self, images: Bools) -> RowMask:
        """What `search` may return where only those images may be that are true in `images`, the rows of `Columns`.

        NotBuiltError when the space has no index.
        """
        return self._built().images.mask(images)

    @property
    def rows(self) -> Rows:
        """What the rows of its hits stand for. NotBuiltError when the space has no index."""
        rows = self._built().rows
        if rows is None:
            raise RuntimeError(f"The index of the space {self.name} is in another process.")
        return rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What each reply to a search has to say of the index. NotBuiltError when the space has no index."""
        return self._built().notes

    @property
    def index(self) -> IndexEntry | None:
        """The index that is served, None when the space has none."""
        return None if self._search is None else self._search.engine.entry

    def rows_of_ids(self, ids: Int64, names: Sequence[object]) -> Int64:
        """The rows of some images; `names` are what the caller calls them. NotFoundError: one has no embedding."""
        rows, found = self._rows_by_id.rows(ids)
        if not found.all():
            raise NotFoundError(
                f"The image {names[int(np.argmin(found))]!r} has no embedding in the space {self.name}; "
                "query it by its bytes."
            )
        return rows

    def vectors(self, rows: Int64) -> Float32:
        """The stored embeddings of some rows, (n, dim). Reads from the disk: not for the event loop."""
        return self._stored.read(rows)

    def close(self) -> None:
        if self._search is not None:
            self._search.engine.close()

    def _built(self) -> Search:
        if self._search is None:
            self._reader.index(self.name)
            raise NotBuiltError(f"The index of the space {self.name} is not served.")
        return self._search
