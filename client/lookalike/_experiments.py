"""What comes out of an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from lookalike._served import Served

Column: TypeAlias = Union["npt.NDArray[Any]", tuple[Any, ...]]
Setting: TypeAlias = str | int | float | bool | list[str | int] | None


class Table(Mapping[str, Column]):
    """A table as columns by name, each with `rows` entries.

    Numbers are an array of shape (rows,), or (rows, n) where each row has n of
    them; where a number is missing, the column is a floating-point one with NaN.
    Texts are a tuple, with None where one is missing. Lists of varying length
    are a tuple of arrays or of tuples.
    """

    def __init__(self, rows: int, columns: Mapping[str, Column]) -> None:
        self.rows = rows
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> Column:
        """A column by name; KeyError names those that there are."""
        if name not in self._columns:
            raise KeyError(f"{name!r}; the columns are {', '.join(self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the columns in order."""
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns."""
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<Table of {self.rows} row{'' if self.rows == 1 else 's'}: {', '.join(self)}>"

    def records(self) -> list[dict[str, Any]]:
        """The rows as dicts of plain values, with None for NaN: ready for JSON."""
        columns = [[_plain(value) for value in column] for column in self._columns.values()]
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, repr=False)
class Experiment:
    """An experiment's outcome; the same numbers as the command of its name gives.

    `settings` are those it ran with, defaults filled in; `tables` its rows;
    `figures` single numbers such as "purity"; `findings` what they mean, a
    sentence each. A stored one is `out_of_date` when the collection has other
    images, embeddings or clusterings than when it was made.
    """

    kind: str
    settings: Mapping[str, Setting]
    tables: Mapping[str, Table]
    figures: Mapping[str, float]
    findings: tuple[str, ...]
    served: Served = field(compare=False)
    out_of_date: bool = False

    def __repr__(self) -> str:
        tables = ", ".join(f"{name} ({table.rows})" for name, table in self.tables.items())
        figures = "".join(f", {name} {value:.4g}" for name, value in list(self.figures.items())[:3])
        stale = ", out of date" if self.out_of_date else ""
        return f"<Experiment {self.kind}: {tables or 'no tables'}{figures}{stale}>"


@dataclass(frozen=True)
class StoredResult:
    """A result that is stored in the collection, without its rows: `name` is what `Client.result` takes.

    `tables` are the numbers of rows by table; the rest is as in Experiment.
    """

    name: str
    kind: str
    settings: Mapping[str, Setting] = field(repr=False)
    tables: Mapping[str, int]
    figures: Mapping[str, float] = field(repr=False)
    findings: tuple[str, ...] = field(repr=False)
    out_of_date: bool


@dataclass(frozen=True)
class Attribution:
    """Which part of an image speaks for a class: a PNG picture, what the network saw with the attribution over it.

    `probability` is that which the model gives the class, None where it was not
    kept.
    """

    png: bytes = field(repr=False)
    class_index: int
    class_name: str
    probability: float | None
    served: Served = field(repr=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value
