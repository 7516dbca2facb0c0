"""Single stored vectors, read by their place in the file once their row group has been decoded.

Decoding a row group of 256 for one row takes milliseconds, and searches by key read rows from
everywhere, which no cache can hold. So the first, checked read of a row group records the place and
checksum of each row: 12 bytes per vector of thousands. Later reads take only those bytes. If they
do not match the checksum, the row group is decoded again, which reports what is wrong.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.parts import check_columns, open_part
from lookalike_indexer.collection.reader import CollectionReader, matrix
from lookalike_indexer.collection.row_groups import RowGroups

_COLUMN = "embedding"
_UNKNOWN = -1


class StoredVectors:
    """Stored embeddings of a space, for reading a few at a time. Thread-safe."""

    def __init__(self, reader: CollectionReader, space: str) -> None:
        _, entry = reader.space(space)
        rows = [reader.manifest.files[path].rows or 0 for path in entry.parts]
        self._dim = entry.dim
        self._ends = np.cumsum(rows, dtype=np.int64)
        self._parts = [
            _Part(reader, path, count, np.dtype(entry.dtype), entry.dim)
            for path, count in zip(entry.parts, rows, strict=True)
        ]

    def read(self, rows: Int64) -> Float32:
        """Return the embeddings of some rows, (len(rows), dim), in the given order.

        Raises DataLossError if a file is not the verified one, or its bytes do not match their
        checksum.
        """
        out = np.empty((len(rows), self._dim), np.float32)
        parts = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(parts):
            wanted = np.flatnonzero(parts == number)
            part = self._parts[number]
            part.read(rows[wanted] - (self._ends[number] - part.rows), wanted, out)
        return out


class _Part:
    """One file of a space, and the known places of its rows."""

    def __init__(self, reader: CollectionReader, path: str, rows: int, dtype: np.dtype[np.generic], dim: int) -> None:
        self.rows = rows
        self._storage = reader.storage
        self._path = path
        self._dtype = dtype
        self._width = dtype.itemsize * dim
        self._places: Int64 = np.full(rows, _UNKNOWN, np.int64)
        self._checksums = np.zeros(rows, np.uint32)

    def read(self, rows: Int64, positions: Int64, out: Float32) -> None:
        """Put the vectors of some of its rows at these positions of `out`."""
        local = self._storage.local(self._path)
        known = self._places[rows] != _UNKNOWN
        unread = ~known
        if known.any():
            unread[known] = ~self._read_bytes(local, rows[known], positions[known], out)
        if unread.any():
            self._decode(local, rows[unread], positions[unread], out)

    def _read_bytes(self, local: Path, rows: Int64, positions: Int64, out: Float32) -> npt.NDArray[np.bool_]:
        """Read rows with known places. Return which of them matched their checksums."""
        right = np.zeros(len(rows), np.bool_)
        try:
            with local.open("rb", buffering=0) as file:
                places, checksums = self._places[rows].tolist(), self._checksums[rows].tolist()
                for at, (place, checksum) in enumerate(zip(places, checksums, strict=True)):
                    data = os.pread(file.fileno(), self._width, place)
                    if len(data) == self._width and zlib.crc32(data) == checksum:
                        out[positions[at]] = np.frombuffer(data, self._dtype)
                        right[at] = True
        except OSError:
            # Decoding reads the same disk, and reports the error.
            pass
        return right

    def _decode(self, local: Path, rows: Int64, positions: Int64, out: Float32) -> None:
        """Read rows by decoding each of their row groups once, and record the places of all rows in them."""
        with open_part(self._storage, self._path) as file, local.open("rb", buffering=0) as raw:
            check_columns(file, [_COLUMN])
            row_groups = RowGroups.of(file)
            groups = row_groups.find(rows)
            for group in np.unique(groups).tolist():
                # One at a time, because a batch of keys may need all groups.
                table = file.read_row_group(group, columns=[_COLUMN], use_threads=False)
                vectors = matrix(table.column(_COLUMN))
                first = int(row_groups.starts[group])
                wanted = groups == group
                out[positions[wanted]] = vectors[rows[wanted] - first]
                if self._places[first] == _UNKNOWN:
                    start, size = _chunk(file, group)
                    self._locate(vectors, first, start, os.pread(raw.fileno(), size, start))

    def _locate(self, vectors: Float32, first: int, start: int, data: bytes) -> None:
        """Record where the rows lie in their column chunk, as far as it is stored unencoded.

        Rows are contiguous except for page headers, so the search for a row that does not follow
        the previous one is short.
        """
        at = 0
        for row, vector in enumerate(vectors.astype(self._dtype, copy=False), first):
            expected = vector.tobytes()
            if not data.startswith(expected, at):
                at = data.find(expected, at)
                if at < 0:
                    return
            # Set the place last, because another thread may read the row as soon as it is set.
            self._checksums[row] = zlib.crc32(expected)
            self._places[row] = start + at
            at += self._width


def _chunk(file: pq.ParquetFile, group: int) -> tuple[int, int]:
    """Return the offset and length of a row group's embeddings in the file."""
    row_group = file.metadata.row_group(group)
    columns = map(row_group.column, range(row_group.num_columns))
    found = next(column for column in columns if column.path_in_schema.split(".")[0] == _COLUMN)
    return found.data_page_offset, found.total_compressed_size
