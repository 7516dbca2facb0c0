"""Images table in memory. Looking up 1,000 neighbors must cost less than finding them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int32, Int64
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.filters.columns import Coded, Column, Numbers
from lookalike_indexer.filters.texts import SortedTexts
from lookalike_server.columns.array_file import Arrays, numbers
from lookalike_server.columns.ids import Ids
from lookalike_server.columns.keys import KeyIndex, order_of
from lookalike_server.columns.text_column import TextColumn
from lookalike_server.columns.text_sizes import TextSizes, encoded_lengths

# Four bytes per row while that suffices.
RowsWithLabel = npt.NDArray[np.uint32] | npt.NDArray[np.int64]

NEEDED = ["id", "key", "label", "uri", "width", "height"]


class Columns:
    """The images table in memory, by ascending id. Its rows are those of the stored table."""

    def __init__(self, table: pa.Table, collection: str) -> None:
        self._hold(_arrays_of(table), collection)

    @classmethod
    def of_arrays(cls, arrays: Arrays, collection: str) -> Columns:
        """Create the columns from `arrays`, for example of a mapped file."""
        columns = cls.__new__(cls)
        columns._hold(arrays, collection)
        return columns

    def _hold(self, arrays: Arrays, collection: str) -> None:
        self.arrays = arrays
        self._collection = collection
        self.ids: Int64 = arrays["ids"].to_numpy()
        self._rows_by_id = Ids(self.ids)
        self._keys, self._uris = TextColumn(arrays["keys"]), TextColumn(arrays["uris"])
        self._widths: Int32 = arrays["widths"].to_numpy()
        self._heights: Int32 = arrays["heights"].to_numpy()
        names = arrays["label_names"]
        # The code after the last label means no label, whose text on the wire is empty.
        self._label_names: list[str] = [*names.to_pylist(), ""]
        self._labels: Int32 = arrays["labels"].to_numpy()
        # Codes in the order of their labels' names.
        self._labels_by_name: Int64 = arrays["labels_by_name"].to_numpy()
        self._by_key = KeyIndex(arrays["keys"], arrays["key_order"].to_numpy())
        self._by_label = KeyIndex(names, arrays["label_order"].to_numpy())
        # Images by label, and where each label's images begin, so that a page of them is a slice.
        self._label_rows: RowsWithLabel = arrays["label_rows"].to_numpy()
        self._label_starts: Int64 = arrays["label_starts"].to_numpy()
        self.key_sizes, self.uri_sizes, self.label_sizes = (
            TextSizes.of_sums(arrays[f"{name}_sizes"].to_numpy()) for name in ("key", "uri", "label")
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def collection(self) -> str:
        """Name of the collection, for errors."""
        return self._collection

    @property
    def listed(self) -> Int64 | None:
        """Rows of the images that are not deleted; None if none is deleted."""
        return None

    @property
    def label_codes(self) -> tuple[Int32, list[str]]:
        """Code of each row's label, and the labels by code. The last label, "", means none."""
        return self._labels, self._label_names

    @property
    def sides(self) -> tuple[Int32, Int32]:
        """Widths and heights of all rows."""
        return self._widths, self._heights

    @property
    def label_count(self) -> int:
        return len(self._label_names) - 1

    def labels_by_name(self, start: int, stop: int) -> tuple[list[str], Int64]:
        """Return labels `[start, stop)` in order of their names, and how many images have each."""
        codes = self._labels_by_name[start:stop]
        return [self._label_names[code] for code in codes.tolist()], np.diff(self._label_starts)[codes]

    def rows_of_ids(self, ids: Int64) -> Int64:
        """Return the rows of some ids, all of which must exist.

        Raises NotFoundError, which names the first unknown one.
        """
        rows, found = self._rows_by_id.rows(ids)
        if not found.all():
            missing = int(ids[int(np.argmin(found))])
            raise NotFoundError(f"The collection {self._collection} has no image with id {missing}.")
        return rows

    def id_rows(self, ids: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """Return the row of each id, and whether it exists."""
        return self._rows_by_id.rows(ids)

    def exist(self, ids: Int64) -> npt.NDArray[np.bool_]:
        """Return whether the collection has an image with each id; False for -1."""
        return self._rows_by_id.rows(ids)[1]

    def places(self, ids: Int64) -> Int64:
        """Return the rows of ids of this collection, including deleted images."""
        return self.rows_of_ids(ids)

    def row_of_key(self, key: str) -> int | None:
        """Return the row of a key, or None."""
        return self._by_key.row(key)

    def rows_of_keys(self, keys: Sequence[str]) -> Int64:
        """Return the rows of some keys. Raises NotFoundError, which names the first unknown one."""
        rows = np.empty(len(keys), np.int64)
        for position, key in enumerate(keys):
            row = self.row_of_key(key)
            if row is None:
                raise NotFoundError(
                    f"The collection {self._collection} has no image with key {key!r}; "
                    "a key is a path relative to the source, with /."
                )
            rows[position] = row
        return rows

    def ids_of_keys(self, keys: Sequence[str]) -> Int64:
        """Return the ids of some keys. Raises NotFoundError, which names the first unknown one."""
        return self.ids[self.rows_of_keys(keys)]

    def known_ids(self, ids: Sequence[int]) -> Int64:
        """Return the ids as an array. Raises NotFoundError, which names the first unknown one."""
        known = np.array(ids, np.int64)
        self.rows_of_ids(known)
        return known

    def rows_with_label(self, label: str) -> RowsWithLabel:
        """Return the rows of all images with a label, ascending, as a slice. Raises NotFoundError if there are none."""
        code = self._by_label.row(label)
        if code is None:
            raise NotFoundError(f"No image of the collection {self._collection} has the label {label!r}.")
        return self._label_rows[self._label_starts[code] : self._label_starts[code + 1]]

    def keys(self, rows: Int64) -> list[str]:
        return self._keys.of(rows)

    def uris(self, rows: Int64) -> list[str]:
        return self._uris.of(rows)

    def labels(self, rows: Int64) -> list[str]:
        """Return the label of each row; "" if an image has none."""
        names = self._label_names
        return [names[code] for code in self._labels[rows].tolist()]

    def filter_columns(self) -> dict[str, Callable[[], Column]]:
        """Return functions that build the columns for filters from what is in memory, by name."""
        return {
            "key": lambda: Coded.of(*self._by_key.sorted_texts()),
            "label": self._label_column,
            "width": lambda: Numbers("int64", self._widths, None),
            "height": lambda: Numbers("int64", self._heights, None),
        }

    def _label_column(self) -> Column:
        texts = SortedTexts.of(pa.array(self._label_names[:-1], pa.large_string()))
        return Coded.of(np.append(texts.ranks, -1)[self._labels], texts)

    def widths(self, rows: Int64) -> Int32:
        return self._widths[rows]

    def heights(self, rows: Int64) -> Int32:
        return self._heights[rows]


def _arrays_of(table: pa.Table) -> dict[str, pa.Array]:
    """Return the images table as arrays."""
    keys, uris = _strings(table.column("key")), _strings(table.column("uri"))
    labels = _combined(pc.dictionary_encode(table.column("label").cast(pa.string())))
    names = labels.dictionary.cast(pa.large_string())
    none = len(names)
    codes: Int32 = labels.indices.fill_null(none).to_numpy(zero_copy_only=False).astype(np.int32)
    texts = names.to_pylist()
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=none + 1))])
    found = {
        "ids": table.column("id").to_numpy(),
        "widths": table.column("width").to_numpy(),
        "heights": table.column("height").to_numpy(),
        "labels": codes,
        "labels_by_name": np.argsort(np.array(texts, object), kind="stable").astype(np.int64, copy=False),
        "key_order": order_of(keys),
        "label_order": order_of(names),
        "label_rows": _rows_by_code(codes),
        "label_starts": starts.astype(np.int64, copy=False),
        "key_sizes": TextSizes(_lengths(keys)).sums,
        "uri_sizes": TextSizes(_lengths(uris)).sums,
        "label_sizes": TextSizes(encoded_lengths([*texts, ""])[codes]).sums,
    }
    return {
        **{name: numbers(values) for name, values in found.items()},
        "keys": keys,
        "uris": uris,
        "label_names": names,
    }


def _combined(column: pa.ChunkedArray) -> pa.Array:
    """Return the chunks of a column as one array, also if there are none."""
    joined = column.unify_dictionaries().combine_chunks()
    return joined if isinstance(joined, pa.Array) else joined.chunk(0)


def _strings(column: pa.ChunkedArray) -> pa.LargeStringArray:
    # 64-bit offsets, because the keys of a large collection exceed 2 GiB.
    return _combined(column.cast(pa.large_string()))


def _lengths(strings: pa.LargeStringArray) -> Int64:
    """Return the bytes of each string."""
    _, offsets, _ = strings.buffers()
    return np.diff(np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1])


def _rows_by_code(codes: Int32) -> RowsWithLabel:
    """Return the rows sorted by code, ascending within each code."""
    order = np.argsort(codes, kind="stable")
    return order.astype(np.uint32) if len(order) < 1 << 32 else order
