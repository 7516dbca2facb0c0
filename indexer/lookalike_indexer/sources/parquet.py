"""A Parquet file of encoded images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import UsageError
from lookalike_indexer.sources.parquet_columns import batches, columns_of, keys_of, leaves, open_parquet, texts
from lookalike_indexer.sources.row import SourceRow

_NO_LABEL = -1


class ParquetSource:
    """The images of a Parquet file, in the order of its rows.

    `columns_of` chooses the columns. The image of a key is read from the URI "FILE.parquet#KEY".
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.left_out: dict[str, int] = {}
        self.unreadable_folders: list[str] = []
        with self._open() as file:
            self._columns = columns_of(file, str(self.path))

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry("parquet", str(self.path))

    def keys(self) -> Iterator[str]:
        """Yield the keys, in order. Raise IndexerError if the file is damaged. Raise UsageError if a row has no key."""
        with self._open() as file:
            yield from keys_of(file, self._columns, str(self.path))

    def rows(self) -> Iterator[SourceRow]:
        status = os.stat(self.path)
        with self._open() as file:
            labels = self._labels(file)
            for key in keys_of(file, self._columns, str(self.path)):
                yield SourceRow(key, next(labels, None), f"{self.path.name}#{key}", status.st_size, status.st_mtime_ns)

    def _labels(self, file: pq.ParquetFile) -> Iterator[str | None]:
        """Yield the label of each row; end early if there are no labels."""
        name, path = self._columns.label, str(self.path)
        if name is None:
            return
        classes = self._columns.classes
        for batch in batches(file, [name], path):
            column = leaves(batch, name)
            if not (classes and pa.types.is_integer(column.type)):
                yield from (label or None for label in texts(column, name, path))
                continue
            for number in column.to_pylist():
                yield None if number is None or number == _NO_LABEL else self._class_name(number)

    def _class_name(self, number: int) -> str:
        classes = self._columns.classes
        if not 0 <= number < len(classes):
            raise UsageError(
                f"The column {self._columns.label} of {self.path} has the class {number}, but its metadata names "
                f"the classes 0 to {len(classes) - 1}; correct the file."
            )
        return classes[number]

    def _open(self) -> pq.ParquetFile:
        return open_parquet(str(self.path))
