"""A labels file: a CSV or Parquet table of key and label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.sources.keytable import KeyTable
from lookalike_indexer.sources.row import SourceRow


class Labels:
    """The labels of a file, looked up by key; counts which of its rows were asked for."""

    def __init__(self, path: Path) -> None:
        """UsageError: not such a table, or a key that is there twice. NotFoundError: no such file."""
        table = _read(path)
        self._labels = table.column("label").combine_chunks()
        self._keys = KeyTable(table.column("key").to_pylist())
        twice = self._keys.first_duplicate()
        if twice:
            key = table.column("key")[twice[1]].as_py()
            raise UsageError(f"The labels file {path} has the key {key!r} twice; keep one of the two rows.")
        self._used: npt.NDArray[np.bool_] = np.zeros(len(self._keys), bool)

    def applied(self, rows: list[SourceRow]) -> list[SourceRow]:
        """The rows with the labels that the file has for them, None where it has none."""
        numbers = self._keys.find([row.key for row in rows])
        found = numbers >= 0
        self._used[numbers[found]] = True
        labels = self._labels.take(pa.array(numbers, mask=~found)).to_pylist()
        return [dataclasses.replace(row, label=label or None) for row, label in zip(rows, labels, strict=True)]

    @property
    def unknown(self) -> int:
        """How many of the file's keys nobody asked for: they name no image."""
        return int((~self._used).sum())


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise NotFoundError(f"There is no labels file {path}.")
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            table = pyarrow.parquet.read_table(path)
        else:
            # Every column is text: a label "007" must stay what it is.
            names = pyarrow.csv.open_csv(path).schema.names
            convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            table = pyarrow.csv.read_csv(path, convert_options=convert)
        if not {"key", "label"} <= set(table.column_names):
            raise UsageError(
                f"The labels file {path} has the columns {', '.join(table.column_names)}: it needs key and label."
            )
        table = table.select(["key", "label"]).cast(pa.schema([("key", pa.string()), ("label", pa.string())]))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"The labels file {path} is neither CSV nor Parquet of key,label: {reason}") from error
    if table.column("key").null_count:
        raise UsageError(f"The labels file {path} has a row without a key; give every row a key.")
    return table
