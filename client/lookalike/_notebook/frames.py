"""Conversion of results to pandas and pyarrow tables; each library is imported on first use."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

Column: TypeAlias = Union["npt.NDArray[Any]", tuple[Any, ...]]


class Tabular(ABC):
    """A result whose rows form a table."""

    @abstractmethod
    def _table(self) -> Mapping[str, Column]:
        """Return columns of equal length by name, with as many rows as the result."""

    def to_pandas(self) -> Any:
        """Convert the rows to a pandas.DataFrame, with None or NaN for missing values.

        A column of arrays holds one array for each row. ImportError: pandas is
        not installed.
        """
        pandas = _library("pandas", "to_pandas")
        return pandas.DataFrame({name: _series(column) for name, column in self._table().items()})

    def to_arrow(self) -> Any:
        """Convert the rows to a pyarrow.Table: numbers keep their type, and missing texts are null.

        ImportError: pyarrow is not installed.
        """
        arrow = _library("pyarrow", "to_arrow")
        return arrow.table({name: _array(arrow, column) for name, column in self._table().items()})


def _library(name: str, method: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{method} needs {name}, which is not installed here: pip install {name}") from error


def _series(column: Column) -> Any:
    if isinstance(column, np.ndarray):
        # The arrays of a result are read-only, and pandas would keep that.
        return column.copy() if column.ndim == 1 else list(column.copy())
    return list(column)


def _array(arrow: Any, column: Column) -> Any:
    if isinstance(column, np.ndarray):
        values = arrow.array(np.ascontiguousarray(column).reshape(-1))
        return values if column.ndim == 1 else arrow.FixedSizeListArray.from_arrays(values, column.shape[1])
    if all(value is None for value in column):
        return arrow.array(column, arrow.string())
    return arrow.array(column)
