"""The images of a generation and those that came since, as columns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Bools, Int32, Int64
from lookalike_indexer.collection import kept_pictures
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.filters.columns import Column
from lookalike_server.columns.columns import Columns, RowsWithLabel
from lookalike_server.columns.text_sizes import TextSizes

# Of the path of a kept picture below their folder: two slashes, two digits of its name, and its name.
_KEPT_BYTES = 68


@dataclass(frozen=True)
class Added:
    """What is known of the images of a view; `ids`, `labels` (codes among `names`) and sizes are of all rows.

    Rows from `first` on came since the generation was made: `keys[i]` is that of row `first` + i. `newest` has the last
    row of each of these keys, `previous[i]` the row that row `first` + i took the place of, -1 for none. Lists and
    dictionaries may hold what came after the view. `alive` is False for images that were deleted or replaced.
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
    # At most so many bytes has a key, and a label, that came since.
    longest_key: int
    longest_label: int
    # uris[i] is that of the picture that the collection keeps of row `first` + i in the folder `kept`; "" for none.
    uris: Sequence[str]
    kept: str


class LiveColumns(Columns):
    """As `Columns`. A row is that of the generation, or one behind them; rows of images that are gone stay."""

    def __init__(self, base: Columns, added: Added) -> None:
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
        """The images that are there."""
        return int(np.count_nonzero(self.alive))

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def listed(self) -> Int64 | None:
        """The rows of the images that are there; None where all are."""
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
        """The labels of the images that are there, by name, and how many images have each."""
        counts = np.bincount(self._labels[self.alive], minlength=len(self._added.names))
        some = [(self._added.names[code], int(counts[code])) for code in np.flatnonzero(counts).tolist()]
        some = sorted(one for one in some if one[0])
        return [name for name, _ in some], np.array([count for _, count in some], np.int64)

    def there(self, ids: Int64) -> Bools:
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
        return self._texts(rows, self._base.uris, lambda place: kept_pictures.absolute(added.uris[place], added.kept))

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

    def held(self) -> dict[str, Callable[[], Column]]:
        raise NotImplementedError("the columns of a view are made of those of its generation")


def living_row(row: int | None, first: int, previous: Sequence[int], alive: Bools) -> int | None:
    """Of the rows that had a key, the one that is there; None: none is. `row` is the last of them.

    What came after a view, which has so many rows as `alive`, is passed over; so is what was deleted, since an image
    that it took the place of may have come back.
    """
    while row is not None and row >= first and (row >= len(alive) or not alive[row]):
        row = previous[row - first]
    return row if row is not None and row >= 0 and alive[row] else None


def _with_longest(sizes: TextSizes, new: int, longest: int) -> TextSizes:
    """The sizes of texts, with those of new images, of which the longest has so many bytes."""
    return sizes.with_more(new, longest) if new and longest else sizes
