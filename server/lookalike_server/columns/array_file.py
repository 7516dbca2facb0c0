"""Arrays in a file that several processes map, so that they share one copy in memory.

It is an Arrow IPC file of one row, whose columns are lists. So arrays of any length are stored as
in memory, and mapping copies none of them.
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
    """Return numbers (n,) as an Arrow array without a copy. Booleans become bytes, which can be mapped."""
    return pa.array(values.view(np.uint8) if values.dtype == np.bool_ else values)


def bools(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Return the booleans (n,) that `numbers` stored as bytes."""
    found: npt.NDArray[np.bool_] = array.to_numpy().view(np.bool_)
    return found


def write_arrays(path: Path, arrays: Arrays) -> str:
    """Write arrays without nulls to a new file. Return its digest, which `map_arrays` takes."""
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(one)], pa.int64()), one) for one in arrays.values()]
    table = pa.table(dict(zip(arrays, lists, strict=True)))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return _digest(path)


def map_arrays(path: Path, digest: str) -> dict[str, pa.Array]:
    """Map the arrays of a file read-only. Raises DataLossError if it is not the one that was written."""
    if _digest(path) != digest:
        raise DataLossError(f"{path.name}, which processes of this server share, is not what was written.")
    with pa.memory_map(str(path)) as file:
        batch = pa.ipc.open_file(file).get_batch(0)
    return {name: batch.column(name).values for name in batch.schema.names}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
