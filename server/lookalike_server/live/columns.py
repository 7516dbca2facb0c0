"""Columns of a generation's images and of those added since."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Bools, Int32, Int64
from lookalike_indexer.collection import uploaded_images
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.filters.columns import Column
from lookalike_server.columns.columns import Columns, RowsWithLabel
from lookalike_server.columns.text_sizes import TextSizes

# Bytes of a kept image's path below its folder: two slashes, two digits of its name, and its name.
_KEPT_BYTES = 68


@dataclass(frozen=True)
class AddedImages:
    """Data of a view's images. `ids`, `labels` (codes into `names`), and sizes cover all rows.

    Rows from `first` on were added since the generation was made: `keys[i]` is the key of row
    `first` + i. `newest` has the last row of each of these keys. `previous[i]` is the row that row
    `first` + i replaced, -1 for none. Lists and dictionaries may contain entries added after the
    view was made. `alive` is False for deleted and replaced images.
    """

    first: int
    ids: Int64
    labels: Int32
    widths: Int32
    heights: Int32
    alive: Bools
    names: Sequence[str]
    codes: Mapping[str, int]
    keys: Sequence[str]
    newest: Mapping[str, int]
    previous: Sequence[int]
    # Largest number of bytes of an added key, and of an added label.
    longest_key: int
    longest_label: int
    # URI of the image file that the collection keeps for row `first` + i, below the folder `kept`; "" for none.
    uris: Sequence[str]
    kept: str


class LiveColumns(Columns):
    """`Columns` of a view. Rows of the generation are followed by added ones. Rows of deleted images stay."""

    def __init__(self, base: Columns, added: AddedImages) -> None:
        self._collection = base.collection
        self._base = base
        self._added = added
        self.ids = added.ids
        self.alive = added.alive
        self._widths, self._heights, self._labels = added.widths, added.heights, added.labels
        new = len(added.ids) - added.first
        self.key_sizes = _with_longest(base.key_sizes, new, added.longest_key)
        self.uri_sizes = _with_longest(base.uri_sizes, new, len(added.kept.encode()) + _KEPT_BYTES)
        self.label_sizes = _with_longest(base.label_sizes, len(added.ids), added.longest_label)

    @functools.cached_property
    def count(self) -> int:
        """Number of images that are not deleted."""
        return int(np.count_nonzero(self.alive))

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def listed(self) -> Int64 | None:
        """Rows of the images that are not deleted; None if none is deleted."""
        return None if self.count == len(self.ids) else np.flatnonzero(self.alive)

    @property
    def label_codes(self) -> tuple[Int32, list[str]]:
        return self._labels, list(self._added.names)

    @property
    def label_count(self) -> int:
        return len(self._by_name[0])

    def labels_by_name(self, start: int, stop: int) -> tuple[list[str], Int64]:
        names, counts = self._by_name
        return names[start:stop], counts[start:stop]

    @functools.cached_property
    def _by_name(self) -> tuple[list[str], Int64]:
        """Labels of images that are not deleted, by name, and the number of images with each."""
        counts = np.bincount(self._labels[self.alive], minlength=len(self._added.names))
        some = [(self._added.names[code], int(counts[code])) for code in np.flatnonzero(counts).tolist()]
        some = sorted(one for one in some if one[0])
        return [name for name, _ in some], np.array([count for _, count in some], np.int64)

    def exist(self, ids: Int64) -> Bools:
        rows = self.places(np.asarray(ids, np.int64))
        found: Bools = (rows >= 0) & self.alive[rows]
        return found

    def places(self, ids: Int64) -> Int64:
        rows, found = self._base.id_rows(ids)
        if not found.all():
            rows = np.where(found, rows, self._new_rows(ids))
        return rows

    def _new_rows(self, ids: Int64) -> Int64:
        first = self._added.first
        new = self.ids[first:]
        rows = np.searchsorted(new, ids).astype(np.int64, copy=False)
        there = rows < len(new)
        there[there] = new[rows[there]] == ids[there]
        return np.where(there, rows + first, -1)

    def rows_of_ids(self, ids: Int64) -> Int64:
        rows = self.places(np.asarray(ids, np.int64))
        found = (rows >= 0) & self.alive[rows]
        if not found.all():
            missing = int(ids[int(np.argmin(found))])
            raise NotFoundError(f"The collection {self._collection} has no image with id {missing}.")
        return rows

    def row_of_key(self, key: str) -> int | None:
        row = self._added.newest.get(key)
        if row is None:
            row = self._base.row_of_key(key)
        return living_row(row, self._added.first, self._added.previous, self.alive)

    def rows_with_label(self, label: str) -> RowsWithLabel:
        code = self._added.codes.get(label)
        rows = np.empty(0, np.int64) if code is None else np.flatnonzero((self._labels == code) & self.alive)
        if not len(rows):
            raise NotFoundError(f"No image of the collection {self._collection} has the label {label!r}.")
        return rows

    def keys(self, rows: Int64) -> list[str]:
        keys = self._added.keys
        return self._texts(rows, self._base.keys, lambda place: keys[place])

    def uris(self, rows: Int64) -> list[str]:
        added = self._added
        return self._texts(rows, self._base.uris, lambda place: uploaded_images.absolute(added.uris[place], added.kept))

    def _texts(self, rows: Int64, of_base: Callable[[Int64], list[str]], of_new: Callable[[int], str]) -> list[str]:
        first = self._added.first
        new = rows >= first
        if not new.any():
            return of_base(rows)
        found = of_base(np.where(new, 0, rows)) if first else [""] * len(rows)
        for place in np.flatnonzero(new).tolist():
            found[place] = of_new(int(rows[place]) - first)
        return found

    def labels(self, rows: Int64) -> list[str]:
        names = self._added.names
        return [names[code] for code in self._labels[rows].tolist()]

    def filter_columns(self) -> dict[str, Callable[[], Column]]:
        raise NotImplementedError("the columns of a view are made of those of its generation")


def living_row(row: int | None, first: int, previous: Sequence[int], alive: Bools) -> int | None:
    """Return the row that is alive among those that had a key, or None. `row` is the last of them.

    Rows added after the view, which has as many rows as `alive`, are skipped. So are deleted rows,
    because an image that they replaced may have been restored.
    """
    while row is not None and row >= first and (row >= len(alive) or not alive[row]):
        row = previous[row - first]
    return row if row is not None and row >= 0 and alive[row] else None


def _with_longest(sizes: TextSizes, new: int, longest: int) -> TextSizes:
    """Return the sizes of texts together with those of new images, whose longest text has `longest` bytes."""
    return sizes.with_more(new, longest) if new and longest else sizes
