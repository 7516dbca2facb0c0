"""Results of experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias, overload

import numpy as np

from lookalike._metrics import heading
from lookalike._notebook import html
from lookalike._notebook.frames import Column, Tabular
from lookalike._notebook.shown import foot
from lookalike._notebook.thumbnails import MOST_PICTURES, Illustrated, Source
from lookalike._served import Served

Setting: TypeAlias = str | int | float | bool | list[str | int] | None


class Table(Tabular, Illustrated, Mapping[str, Column]):
    """A table: a mapping of column names to columns with `rows` entries. A slice returns some of the rows.

    A column of numbers is an array of shape (rows,), or (rows, n) where each row has n
    numbers; a column with missing numbers is floating-point with NaN. A column of texts
    is a tuple with None for missing texts. Lists of varying length are a tuple of arrays
    or of tuples. `metric` is the metric of its distances and silhouettes: "cosine",
    "l2", or another value if the table's own column `metric` names it for each row.
    """

    def __init__(self, rows: int, columns: Mapping[str, Column], metric: object = "") -> None:
        self.rows = rows
        self.metric = metric
        self._columns = dict(columns)

    @overload
    def __getitem__(self, name: str) -> Column: ...
    @overload
    def __getitem__(self, name: slice) -> Self: ...
    def __getitem__(self, name: str | slice) -> Column | Self:
        """Return a column by name, or the rows of a slice; KeyError lists the columns."""
        if isinstance(name, slice):
            rows = len(range(self.rows)[name])
            part = type(self)(rows, {each: column[name] for each, column in self._columns.items()}, self.metric)
            part._illustrate(self._source)
            return part
        if name not in self._columns:
            raise KeyError(f"{name!r}; the columns are {', '.join(self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns in order."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<Table of {self.rows} row{'' if self.rows == 1 else 's'}: {', '.join(self)}>"

    def _table(self) -> Mapping[str, Column]:
        return self._columns

    def _repr_html_(self) -> str:
        return html.box(html.heading("Table", faint=f"{self.rows:,} rows"), *self._shown(MOST_PICTURES))

    def _shown(self, most: int) -> tuple[str, str]:
        """Return HTML of the first rows, the first `most` of them with images, and of a note if images are missing."""
        named = {heading(name, self.metric): column for name, column in self._columns.items()}
        ids, keys = self._columns.get("id"), self._columns.get("key")
        shown = min(self.rows, html.MOST_ROWS, most)
        if not isinstance(ids, np.ndarray) or ids.dtype.kind != "i" or not isinstance(keys, tuple) or not shown:
            return html.table(named, self.rows), ""
        wanted = ids[:shown].tolist()
        gallery = self._gallery(wanted, keys[:shown])
        pictures = [gallery.jpegs.get(image) for image in wanted] if gallery.jpegs else None
        return html.table(named, self.rows, pictures=pictures), html.note(gallery.problem)

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as dicts of plain values for JSON, with None in place of NaN."""
        columns = [[_plain(value) for value in column] for column in self._columns.values()]
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, repr=False)
class Experiment(Illustrated):
    """Result of an experiment, equal to that of the command with its name.

    `settings` are the arguments with all defaults filled in; `tables` the rows; `figures` single
    numbers such as "purity"; `findings` their interpretation, one sentence each. `out_of_date` is
    True for a stored result if the collection's images, embeddings or clusterings have changed since.
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

    def to_pandas(self) -> dict[str, Any]:
        """Convert each of `tables` to a pandas.DataFrame, by name. ImportError: pandas is not installed."""
        return {name: table.to_pandas() for name, table in self.tables.items()}

    def to_arrow(self) -> dict[str, Any]:
        """Convert each of `tables` to a pyarrow.Table, by name. ImportError: pyarrow is not installed."""
        return {name: table.to_arrow() for name, table in self.tables.items()}

    def _illustrate(self, source: Source | None) -> None:
        super()._illustrate(source)
        for table in self.tables.values():
            table._illustrate(source)

    def _repr_html_(self) -> str:
        left, parts, problem = MOST_PICTURES, [], ""
        for number, (name, table) in enumerate(self.tables.items()):
            inner, why = table._shown(left)
            if "key" in table:
                left -= min(table.rows, html.MOST_ROWS, left)
            problem = problem or why
            parts.append(html.folded(f"{name}: {table.rows:,} rows", inner, is_open=number == 0))
        settings = ", ".join(f"{name} {html.plain(value)}" for name, value in self.settings.items() if value != "")
        stale = html.note("Out of date: the collection has changed since.") if self.out_of_date else ""
        head = html.heading(self.kind, faint=settings)
        return html.box(
            head,
            stale,
            html.bullets(self.findings),
            _figures(self.figures, self.settings),
            *parts,
            problem,
            foot(self.served),
        )


@dataclass(frozen=True)
class StoredResult:
    """A result stored in the collection, without its rows. Pass `name` to `Client.result` for the rows.

    `tables` has the number of rows of each table; the other fields are as in Experiment.
    """

    name: str
    kind: str
    settings: Mapping[str, Setting] = field(repr=False)
    tables: Mapping[str, int]
    figures: Mapping[str, float] = field(repr=False)
    findings: tuple[str, ...] = field(repr=False)
    out_of_date: bool

    def _repr_html_(self) -> str:
        tables = ", ".join(f"{name} {rows:,}" for name, rows in self.tables.items())
        stale = html.note("Out of date: the collection has changed since.") if self.out_of_date else ""
        rows = html.note(f"Rows of its tables: {tables or 'none'}.")
        return html.box(
            html.heading(self.name), stale, html.bullets(self.findings), _figures(self.figures, self.settings), rows
        )


class StoredResults(tuple[StoredResult, ...]):
    """The stored results of a collection, sorted by name."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        columns = {
            "result": [one.name for one in self],
            "rows of its tables": [", ".join(f"{name} {rows:,}" for name, rows in one.tables.items()) for one in self],
            "out of date": [one.out_of_date for one in self],
        }
        return html.box(html.heading("Stored results"), html.table(columns, len(self), most=len(self)))


@dataclass(frozen=True)
class Attribution:
    """Attribution of a class to the pixels of an image: `png` shows the model's input with the attribution over it.

    `probability` is the model's probability of the class, None if the collection does not store it.
    """

    png: bytes = field(repr=False)
    class_index: int
    class_name: str
    probability: float | None
    served: Served = field(repr=False)

    def _repr_html_(self) -> str:
        known = "" if self.probability is None else f", probability {self.probability:.3g}"
        about = f"class {self.class_index}{known}"
        picture = html.image(self.png, f"Pixels that support {self.class_name}", kind="png", side=448)
        return html.box(html.heading(self.class_name, faint=about), picture, foot(self.served))


def _figures(figures: Mapping[str, float], settings: Mapping[str, Setting]) -> str:
    if not figures:
        return ""
    columns = {"figure": [heading(name, settings.get("metric")) for name in figures], "value": list(figures.values())}
    return html.folded(f"figures: {len(figures)}", html.table(columns, len(figures), most=len(figures)), is_open=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value
