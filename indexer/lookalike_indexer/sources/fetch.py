"""Read the bytes of one image of any source."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike_indexer.errors import DecodeError

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET_ROW = re.compile(r"(.+)#(\d+)")


def fetch(uri: str, max_bytes: int) -> bytes:
    """The encoded bytes of an image: a file's path, or "FILE.parquet#ROW".

    DecodeError says in a line why they cannot be had: missing, unreadable, or
    more than `max_bytes`.
    """
    if not uri:
        raise DecodeError("its file name is not valid UTF-8; rename the file")
    row = _PARQUET_ROW.fullmatch(uri)
    if row and not Path(uri).exists():
        return _checked(_parquet_row(row[1], int(row[2])), max_bytes)
    try:
        with Path(uri).open("rb") as file:
            # One byte more than allowed tells that there is more, without reading it all.
            return _checked(file.read(max_bytes + 1), max_bytes)
    except FileNotFoundError as error:
        raise DecodeError("there is no such file") from error
    except (OSError, ValueError) as error:
        raise DecodeError(f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _checked(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise DecodeError(f"the file is larger than the {max_bytes:,} bytes that are allowed")
    if not data:
        raise DecodeError("the file is empty")
    return data


def _parquet_row(path: str, row: int) -> bytes:
    import pyarrow as pa  # only where Parquet is the source: decoding workers start without it

    try:
        modified = Path(path).stat().st_mtime_ns
        column, first = _row_group(path, modified, *_group_of(path, modified, row))
        value = column[row - first].as_py()
    except (OSError, IndexError, pa.ArrowException) as error:
        raise DecodeError(f"row {row} of the Parquet file cannot be read") from error
    if value is None:
        raise DecodeError(f"row {row} of the Parquet file has no image")
    return bytes(value)


# Neighbouring rows are asked for one after the other. A row group can only be
# decoded whole, so each process keeps the last one, and the row groups' ends.
@functools.lru_cache(maxsize=1)
def _row_group(path: str, modified: int, group: int, first: int) -> tuple[pa.ChunkedArray, int]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        name = next(name for name in ("image", "bytes") if name in file.schema_arrow.names)
        return file.read_row_group(group, columns=[name]).column(name), first


@functools.lru_cache(maxsize=1)
def _group_ends(path: str, modified: int) -> tuple[int, ...]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        ends: list[int] = []
        for group in range(file.num_row_groups):
            ends.append((ends[-1] if ends else 0) + file.metadata.row_group(group).num_rows)
        return tuple(ends)


def _group_of(path: str, modified: int, row: int) -> tuple[int, int]:
    """The row group that a row is in, and that group's first row; IndexError when there is no such row."""
    ends = _group_ends(path, modified)
    for group, end in enumerate(ends):
        if row < end:
            return group, ends[group - 1] if group else 0
    raise IndexError(row)
