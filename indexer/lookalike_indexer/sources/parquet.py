"""A Parquet file of keys and image bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.sources.row import SourceRow

IMAGE_COLUMNS = ("image", "bytes")


class ParquetSource:
    """The pictures of a Parquet file, in the order of its rows.

    Columns: `key` (text), `image` or `bytes` (binary) and, if there is one,
    `label` (text). Row r is read from the URI "FILE.parquet#r".
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        names = self._open().schema_arrow.names
        if "key" not in names or not any(column in names for column in IMAGE_COLUMNS):
            raise UsageError(
                f"{self.path} has the columns {', '.join(names)}: a Parquet source needs the columns key and image "
                "(or bytes), and may have label."
            )
        self._columns = ["key", "label"] if "label" in names else ["key"]

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry("parquet", str(self.path))

    def keys(self) -> Iterator[str]:
        for key, _ in self._pairs(["key"]):
            yield key

    def rows(self) -> Iterator[SourceRow]:
        status = self.path.stat()
        for number, (key, label) in enumerate(self._pairs(self._columns)):
            yield SourceRow(key, label, f"{self.path}#{number}", status.st_size, status.st_mtime_ns)

    def _pairs(self, columns: list[str]) -> Iterator[tuple[str, str | None]]:
        number = 0
        with self._open() as file:
            for batch in file.iter_batches(columns=columns):
                keys = _texts(batch, "key")
                labels = _texts(batch, "label") if "label" in columns else [None] * len(keys)
                for key, label in zip(keys, labels, strict=True):
                    if not key:
                        raise UsageError(f"Row {number} of {self.path} has no key; give every row a key of its own.")
                    yield key, label or None
                    number += 1

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowInvalid) as error:
            raise IndexerError(f"{self.path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _texts(batch: pa.RecordBatch, column: str) -> list[str | None]:
    texts: list[str | None] = batch.column(column).cast(pa.string()).to_pylist()
    return texts
