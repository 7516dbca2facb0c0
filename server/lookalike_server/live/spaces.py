"""A space with images added since its generation was made."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.indexing.two_stage import Projection
from lookalike_server.batching.waiting import Inbox
from lookalike_server.columns.row_mask import Remaining, RowMask
from lookalike_server.columns.rows import Rows, UnindexedVectors
from lookalike_server.columns.space_images import SpaceImages
from lookalike_server.generation.spaces import Space
from lookalike_server.live.columns import LiveColumns
from lookalike_server.search.effort import Plan, Planner
from lookalike_server.search.engine import Engine
from lookalike_server.search.search_engine import Queued, SearchEngine


class LiveSpaceImages(SpaceImages):
    """`SpaceImages` of a view. Rows of new images follow those of the space."""

    def __init__(self, columns: LiveColumns, ids: Int64, rows: Int64 | None, stored: RowMask | None) -> None:
        """`rows` are the rows of `columns` for all rows of the space; None if they are the same.

        `stored` allows the rows of the generation that were not deleted before; None means all.
        """
        self._columns = columns
        self.ids = ids
        self._rows = rows
        self._stored = stored

    def chosen(self, images: Bools) -> Bools:
        """Return the rows whose images are true in `images` (images,)."""
        found: Bools = self.of_images(images)
        if self._stored is not None:
            found[: len(self._stored)] &= self._stored.bools
        return found

    def mask(self, images: Bools) -> RowMask:
        return RowMask(self.chosen(images))


class LiveEngine(Engine):
    """Engine of a generation that also finds new images and leaves out deleted ones."""

    def __init__(
        self,
        base: SearchEngine,
        compared: UnindexedVectors | None,
        quick: UnindexedVectors | None,
        remaining: Remaining | None,
    ) -> None:
        """Exact searches use `compared` for new images; all other searches use `quick`."""
        self.entry = base.entry
        self._base, self._compared, self._quick, self._remaining = base, compared, quick, remaining

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
        # A mask contains only images that are not deleted; see Space.mask and Space.remaining.
        mask = self._remaining if mask is None else mask
        beside = self._compared if plan.exact or plan.scan else self._quick
        return self._base.put(queries, k, plan, mask, ticket, inbox, peer, deadline, beside)

    def withdraw(self, queued: Queued) -> None:
        self._base.withdraw(queued)

    @property
    def waiting(self) -> dict[str, int]:
        return self._base.waiting

    def check_threads(self) -> list[tuple[str, str]]:
        return self._base.check_threads()

    @property
    def lost(self) -> str:
        return self._base.lost

    @property
    def devices(self) -> list[str]:
        return self._base.devices

    def close(self) -> None:
        raise RuntimeError("an engine is closed with its generation")


class LiveSpace(Space):
    """`Space` of a view."""

    def __init__(
        self, base: Space, columns: LiveColumns, new_ids: Int64, vectors: Float32, images: LiveSpaceImages | None
    ) -> None:
        """`vectors` (n, dim) are the embeddings of the images with `new_ids`. `images` is None without an index."""
        self.name, self.entry, self.pretrained, self.described = (
            base.name, base.entry, base.pretrained, base.described
        )  # fmt: skip
        self._base, self._live_columns, self._new_ids, self._vectors, self._images = (
            base, columns, new_ids, vectors, images
        )  # fmt: skip
        self._compared: UnindexedVectors | None = None
        self._quick: UnindexedVectors | None = None

    @property
    def new_vectors(self) -> Float32:
        """Stored vectors (n, dim) of the images added since the generation was made."""
        return self._vectors

    def search_with(self, compared: UnindexedVectors, quick: UnindexedVectors) -> None:
        """Set the searches of new images; see LiveEngine. Call it before the first search."""
        self._compared, self._quick = compared, quick

    @property
    def searchable(self) -> bool:
        return self._base.searchable

    @functools.cached_property
    def engine(self) -> LiveEngine:
        return LiveEngine(self._base.engine, self._compared, self._quick, self.remaining)

    @property
    def planner(self) -> Planner:
        return self._base.planner

    @property
    def images(self) -> SpaceImages:
        return self._base.images if self._images is None else self._images

    @functools.cached_property
    def remaining(self) -> Remaining | None:
        images = self.images
        if not isinstance(images, LiveSpaceImages):
            return None
        alive = images.chosen(self._live_columns.alive)
        return None if alive.all() else Remaining(alive)

    @property
    def count(self) -> int:
        return len(self.images.ids) if self.remaining is None else self.remaining.count

    def mask(self, images: Bools) -> RowMask:
        return self.images.mask(images)

    @property
    def rows(self) -> Rows:
        return self._base.rows

    @property
    def projection(self) -> Projection | None:
        return self._base.projection

    @property
    def notes(self) -> tuple[str, ...]:
        return self._base.notes

    @property
    def index(self) -> IndexEntry | None:
        return self._base.index

    def rows_of_ids(self, ids: Int64, names: Sequence[object]) -> Int64:
        rows = np.searchsorted(self._new_ids, ids).astype(np.int64, copy=False)
        new = rows < len(self._new_ids)
        new[new] = self._new_ids[rows[new]] == ids[new]
        found = rows + len(self._base.ids)
        if not new.all():
            old = np.flatnonzero(~new)
            found[old] = self._base.rows_of_ids(ids[old], [names[place] for place in old.tolist()])
        return found

    def vectors(self, rows: Int64) -> Float32:
        stored = len(self._base.ids)
        new = rows >= stored
        if not new.any():
            return self._base.vectors(rows)
        out = np.empty((len(rows), self.entry.dim), np.float32)
        out[new] = self._vectors[rows[new] - stored]
        if not new.all():
            out[~new] = self._base.vectors(rows[~new])
        return out

    def close(self) -> None:
        raise RuntimeError("a space is closed with its generation")
