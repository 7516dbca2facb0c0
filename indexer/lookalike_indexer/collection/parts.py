"""Writing and reading one part: one Parquet file of one table."""

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
    """Write a table as one complete Parquet file; the same table always gives the same bytes."""
    with storage.staged(path) as temporary:
        pq.write_table(table, temporary, **schema.writer_options(table.schema))


def read_part(storage: Storage, path: str, columns: list[str] | None = None) -> pa.Table:
    """Read a part, or some of its columns; DataLossError when it is not a readable Parquet file.

    Columns that a part of an earlier format lacks, if asked for by name, are null.
    """
    with open_part(storage, path) as file:
        names = file.schema_arrow.names
        there = [name for name in columns or () if name in names or name not in schema.ADDED]
        check_columns(file, there)
        table = file.read(columns=None if columns is None else there)
    return table if columns is None else with_columns(table, columns)


def with_columns(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table with these columns, in this order; those of `schema.ADDED` that it lacks are null."""
    for name in columns:
        if name not in table.column_names:
            field = pa.field(name, schema.ADDED[name])
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(list(columns))


def read_rows(storage: Storage, path: str, start: int, stop: int) -> pa.Table:
    """Rows `start` to before `stop` of a part, those of them that there are, without reading all row groups."""
    with open_part(storage, path) as file:
        groups = RowGroups.of(file)
        stop = min(stop, groups.rows)
        if start >= stop:
            return file.schema_arrow.empty_table()
        first, last = groups.find(np.array([start, stop - 1])).tolist()
        return file.read_row_groups(range(first, last + 1)).slice(start - int(groups.starts[first]), stop - start)


@contextmanager
def open_part(storage: Storage, path: str) -> Iterator[pq.ParquetFile]:
    """Open a part for reading row groups; DataLossError when it, or what is read of it, is not readable Parquet.

    Each page is read only if its checksum fits, so that a disk which forgets
    bits cannot change an answer without a word. Not memory-mapped: a page that
    the disk cannot read would end the process, where a read gives an error.
    """
    local = storage.local(path)
    try:
        with pq.ParquetFile(local, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataLossError(f"{local} cannot be read as Parquet: {_said(error)}.") from error


def check_columns(file: pq.ParquetFile, columns: Iterable[str]) -> None:
    """Refuse, within `open_part`, a part without some columns: pyarrow would leave them out without a word."""
    for name in columns:
        if name not in file.schema_arrow.names:
            raise pa.ArrowInvalid(f"it has no column {name}")


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    # pyarrow explains itself in lines of which the first one tells what is wrong.
    return str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
