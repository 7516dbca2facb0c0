"""Arrays in a file that several processes map: one copy in memory for all of them, made once a generation.

The file is an Arrow IPC file of one row, whose columns are lists: arrays of any
lengths are in it as they are in memory, and mapping it copies none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.errors import DataLossError

Arrays = Mapping[str, pa.Array]


def numbers(values: npt.NDArray[Any]) -> pa.Array:
    """An array of numbers, shape (n,), without a copy; booleans become bytes, which can be mapped as they are."""
    return pa.array(values.view(np.uint8) if values.dtype == np.bool_ else values)


def bools(array: pa.Array) -> npt.NDArray[np.bool_]:
    """The booleans, shape (n,), that `numbers` made bytes of."""
    found: npt.NDArray[np.bool_] = array.to_numpy().view(np.bool_)
    return found


def write_arrays(path: Path, arrays: Arrays) -> str:
    """Write arrays without nulls into a new file; returns its digest, for `map_arrays`."""
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(one)], pa.int64()), one) for one in arrays.values()]
    table = pa.table(dict(zip(arrays, lists, strict=True)))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return _digest(path)


def map_arrays(path: Path, digest: str) -> dict[str, pa.Array]:
    """The arrays of a file, mapped read-only. DataLossError: it is not the one that was written."""
    if _digest(path) != digest:
        raise DataLossError(f"{path.name}, which processes of this server share, is not what was written.")
    with pa.memory_map(str(path)) as file:
        batch = pa.ipc.open_file(file).get_batch(0)
    return {name: batch.column(name).values for name in batch.schema.names}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
