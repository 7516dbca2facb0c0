"""Writing and reading one part: one Parquet file of one table."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.collection import schema
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError


def write_part(storage: Storage, path: str, table: pa.Table) -> None:
    """Write a table as one complete Parquet file; the same table always gives the same bytes."""
    with storage.staged(path) as temporary:
        pq.write_table(table, temporary, **schema.writer_options(table.schema))


def read_part(storage: Storage, path: str, columns: list[str] | None = None) -> pa.Table:
    """Read a part, or some of its columns; DataLossError when it is not a readable Parquet file."""
    with open_part(storage, path) as file:
        return file.read(columns=columns)


def open_part(storage: Storage, path: str) -> pq.ParquetFile:
    """Open a part for reading row groups; DataLossError when it is not a readable Parquet file."""
    try:
        return pq.ParquetFile(storage.local(path), memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataLossError(f"{storage.local(path)} cannot be read as Parquet: {error}") from error
