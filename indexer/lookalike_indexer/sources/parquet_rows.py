"""Reader of images of a Parquet file by key, in one pass if they are requested in order."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

import pyarrow as pa

from lookalike_indexer.collection.row_groups import RowGroups
from lookalike_indexer.errors import DecodeError, IndexerError
from lookalike_indexer.sources.keytable import KeyTable
from lookalike_indexer.sources.parquet_columns import columns_of, keys_of, leaves, open_parquet

_BATCH_BYTES = 8 << 20
_LARGEST_BATCH = 256


class ParquetRows:
    """The images of a Parquet file; a cursor moves forward through it, a few megabytes at a time.

    Pages are decoded one by one, so the size of row groups does not matter. A backward step starts again at the
    beginning of a row group. Holds 24 bytes for each row's key.
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = open_parquet(path)
            self._columns = columns_of(self._file, path)
            by_row = self._columns.key is None
            self._keys = None if by_row else KeyTable(keys_of(self._file, self._columns, path))
        except IndexerError as error:
            raise DecodeError(str(error), kind="unreadable") from error
        self._starts: list[int] = RowGroups.of(self._file).starts.tolist()
        self._cursor = _Cursor(iter(()), 0)
        # By row group, the first unreadable row: requests for it or a later row would fail again.
        self._unreadable: dict[int, int] = {}

    def read(self, key: str, max_bytes: int) -> bytes:
        """Return the image of a key; DecodeError of the kind "missing", "unreadable" or "limit"."""
        row = self._row(key)
        group = bisect.bisect_right(self._starts, row) - 1
        if row >= self._unreadable.get(group, row + 1):
            raise DecodeError("the row of the Parquet file cannot be read", kind="unreadable")
        if not self._starts[group] <= self._cursor.first <= row or self._cursor.group != group:
            self._cursor = _Cursor(self._batches(group), self._starts[group], group)
        try:
            value = self._cursor.value(row)
        except (OSError, pa.ArrowException, StopIteration) as error:
            self._unreadable[group] = self._cursor.end
            self._cursor = _Cursor(iter(()), 0)
            raise DecodeError("the row of the Parquet file cannot be read", kind="unreadable") from error
        if not value.is_valid:
            raise DecodeError("the row of the Parquet file has no image", kind="missing")
        data = value.as_buffer()
        if data.size > max_bytes:
            raise DecodeError(
                f"the image has {data.size:,} bytes, more than the {max_bytes:,} that are allowed", kind="limit"
            )
        return bytes(data)

    def close(self) -> None:
        self._cursor = _Cursor(iter(()), 0)
        self._file.close()

    def _row(self, key: str) -> int:
        if self._keys is not None:
            row = int(self._keys.find([key])[0])
        else:
            row = int(key) if key.isascii() and key.isdecimal() else -1
            row = row if row < self._starts[-1] else -1
        if row < 0:
            raise DecodeError(f"the Parquet file has no row of the key {key!r}", kind="missing")
        return row

    def _batches(self, group: int) -> Iterator[pa.Array]:
        metadata = self._file.metadata.row_group(group)
        a_row = sum(
            column.total_uncompressed_size
            for column in map(metadata.column, range(metadata.num_columns))
            if column.path_in_schema == self._columns.image
        ) // max(1, metadata.num_rows)
        size = min(_LARGEST_BATCH, max(1, _BATCH_BYTES // max(1, a_row)))
        batches = self._file.iter_batches(
            batch_size=size, row_groups=[group], columns=[self._columns.image], use_threads=False
        )
        return (leaves(batch, self._columns.image) for batch in batches)


class _Cursor:
    """A position in a row group; the rows from `first` to before `end` are in memory."""

    def __init__(self, batches: Iterator[pa.Array], first: int, group: int = -1) -> None:
        self.group = group
        self.first = self.end = first
        self._batches = batches
        self._values: pa.Array = None

    def value(self, row: int) -> pa.Scalar:
        """Return the image of a row at or after `first`; errors of the file pass through."""
        while row >= self.end:
            self._values = next(self._batches)
            self.first, self.end = self.end, self.end + len(self._values)
        return self._values[row - self.first]
