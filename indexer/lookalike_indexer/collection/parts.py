"""Reading and writing of one part: one Parquet file of one table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.collection import schema
from lookalike_indexer.collection.row_groups import RowGroups
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError


def write_part(storage: Storage, path: str, table: pa.Table) -> None:
    """Write a table as one complete Parquet file; equal tables give equal bytes."""
    with storage.staged(path) as temporary:
        pq.write_table(table, temporary, **schema.writer_options(table.schema))


def read_part(storage: Storage, path: str, columns: list[str] | None = None) -> pa.Table:
    """Read a part, or some of its columns; DataLossError if it is not a readable Parquet file.

    Requested columns that parts of earlier formats lack are null.
    """
    with open_part(storage, path) as file:
        names = file.schema_arrow.names
        there = [name for name in columns or () if name in names or name not in schema.ADDED]
        check_columns(file, there)
        table = file.read(columns=None if columns is None else there)
    return table if columns is None else with_columns(table, columns)


def with_columns(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return the table with these columns, in this order; missing ones of `schema.ADDED` are null."""
    for name in columns:
        if name not in table.column_names:
            field = pa.field(name, schema.ADDED[name])
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(list(columns))


def read_rows(storage: Storage, path: str, start: int, stop: int) -> pa.Table:
    """Return the existing rows of a part from `start` to before `stop`; read only the row groups that hold them."""
    with open_part(storage, path) as file:
        groups = RowGroups.of(file)
        stop = min(stop, groups.rows)
        if start >= stop:
            return file.schema_arrow.empty_table()
        first, last = groups.find(np.array([start, stop - 1])).tolist()
        return file.read_row_groups(range(first, last + 1)).slice(start - int(groups.starts[first]), stop - start)


@contextmanager
def open_part(storage: Storage, path: str) -> Iterator[pq.ParquetFile]:
    """Open a part for reading row groups; DataLossError if it, or data read from it, is not readable Parquet.

    Page checksums are verified, so that bit rot cannot silently change an answer. The file is not memory-mapped: an
    unreadable page would kill the process, whereas a read raises an error.
    """
    local = storage.local(path)
    try:
        with pq.ParquetFile(local, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataLossError(f"{local} cannot be read as Parquet: {_error_text(error)}.") from error


def check_columns(file: pq.ParquetFile, columns: Iterable[str]) -> None:
    """Reject a part without some columns, within `open_part`: pyarrow would silently leave them out."""
    for name in columns:
        if name not in file.schema_arrow.names:
            raise pa.ArrowInvalid(f"it has no column {name}")


def _error_text(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    # The first line of a pyarrow error states the problem.
    return str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
