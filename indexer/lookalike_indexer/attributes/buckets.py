"""External sort of a table's rows into the order of the images, with one spill file for each run of parts.

A user's table is in any order. Its rows go to the bucket of their image's part; a bucket is small enough to be sorted
in memory. Buckets are unnamed files, so that a killed run leaves nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Int64
from lookalike_indexer.errors import IndexerError

_ROW = "\0row"
# The planned size of a bucket, in bytes of the user's file; text and compression change the actual size.
_PLANNED = 16 << 20
_MOST = 256
# The part of a bucket that stays in memory.
_HELD = 4 << 20


class Buckets:
    """Takes rows in any order, and yields them part by part, by ascending row of their image."""

    def __init__(self, folder: Path, ends: Int64, size: int) -> None:
        """Create the buckets. `ends` are the row ends of the parts of images; `size` is that of the user's file in
        bytes.
        """
        count = max(1, min(_MOST, size // _PLANNED, len(ends)))
        self._ends = ends
        # The parts of bucket b are those from _first[b] to before _first[b + 1].
        self._first: Int64 = np.unique(np.linspace(0, len(ends), count + 1).astype(np.int64))
        self._folder = folder
        self._stack = ExitStack()
        self._files: dict[int, IO[bytes]] = {}
        self._writers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, rows: Int64, table: pa.Table) -> None:
        """Add the rows of a table (n,); `rows` (n,) are those of their images."""
        if not len(rows):
            return
        parts = np.searchsorted(self._ends, rows, side="right")
        buckets = np.searchsorted(self._first, parts, side="right") - 1
        order = np.argsort(buckets, kind="stable")
        sorted_table = table.append_column(_ROW, pa.array(rows)).take(pa.array(order)).combine_chunks()
        found, starts = np.unique(buckets[order], return_index=True)
        ends = [*starts[1:].tolist(), len(rows)]
        for bucket, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
            self._write(bucket, sorted_table.slice(start, end - start))

    def parts(self, columns: pa.Schema) -> Iterator[tuple[int, Int64, pa.Table]]:
        """Yield for each part of images its position, the rows of its images that have data, and their columns.

        Rows are relative to the part, and ascend.
        """
        for writer in self._writers.values():
            writer.close()
        for bucket, (first, following) in enumerate(zip(self._first[:-1], self._first[1:], strict=True)):
            held = self._read(bucket, columns)
            rows: Int64 = held.column(_ROW).to_numpy()
            table = held.drop_columns([_ROW])
            for part in range(int(first), int(following)):
                begin = int(self._ends[part - 1]) if part else 0
                start, end = np.searchsorted(rows, [begin, self._ends[part]]).tolist()
                yield part, rows[start:end] - begin, table.slice(start, end - start)

    def _write(self, bucket: int, table: pa.Table) -> None:
        try:
            if bucket not in self._writers:
                spill = tempfile.SpooledTemporaryFile(max_size=_HELD, dir=str(self._folder))  # noqa: SIM115
                self._files[bucket] = self._stack.enter_context(spill)
                self._writers[bucket] = pa.ipc.new_stream(pa.PythonFile(spill, "w"), table.schema)
            self._writers[bucket].write_table(table)
        except OSError as error:
            raise IndexerError(f"{self._folder} has no space for sorting the table: {error}.") from error

    def _read(self, bucket: int, columns: pa.Schema) -> pa.Table:
        """Return a bucket sorted by row."""
        if bucket not in self._files:
            return columns.append(pa.field(_ROW, pa.int64())).empty_table()
        file = self._files[bucket]
        file.seek(0)
        with pa.ipc.open_stream(pa.PythonFile(file, "r")) as reader:
            return reader.read_all().sort_by(_ROW).combine_chunks()
