"""Arrays of numbers from and to Arrow.

pyarrow's own conversions import pandas where it is installed, which takes about half a second. These do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def to_arrow(numbers: npt.NDArray[Any]) -> pa.Array:
    """Return numbers (n,) as an Arrow array that shares their memory if they are contiguous."""
    numbers = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])


def of_arrow(numbers: pa.Array) -> npt.NDArray[Any]:
    """Return an Arrow array of numbers as a read-only array (n,) that shares its memory.

    Raise pa.ArrowInvalid if it has nulls.
    """
    if numbers.null_count:
        raise pa.ArrowInvalid("its numbers have gaps")
    kind = np.dtype(numbers.type.to_pandas_dtype())
    data = numbers.buffers()[1]
    if data is None or not len(numbers):
        return np.empty(0, kind)
    return np.frombuffer(data, kind, len(numbers), numbers.offset * kind.itemsize)
