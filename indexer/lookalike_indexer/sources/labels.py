"""A labels file: a CSV or Parquet table of key and label."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lookalike_indexer.collection import uris
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import UsageError
from lookalike_indexer.sources.keytable import KeyTable

_KEYS = ("key", "filename", "file_name", "file", "path", "image")
_LABELS = ("label", "class", "category")
_DELIMITERS = ",;\t"


class LabelTable(Protocol):
    """Interface of a table of labels by key, for the listing; see `Labels`."""

    @property
    def used(self) -> int:
        """The number of the table's keys that were looked up."""

    @property
    def unknown(self) -> int:
        """The number of the table's keys that were not looked up."""

    @property
    def example(self) -> str:
        """A key of the table, "" if its keys need not match images."""

    def look_up(self, keys: Sequence[str]) -> tuple[list[str | None], npt.NDArray[np.bool_]]:
        """Return the label of each key, and whether the table decides it."""


class Labels:
    """The labels of a file, looked up by key; counts which of its rows were looked up.

    A key matches exactly, or else after `normalized_key`.
    """

    def __init__(self, path: Path, source: SourceEntry) -> None:
        """Read the file.

        Raise UsageError if the file does not exist, has another type, has no rows, or has a duplicate key.
        """
        table = _read(path)
        self._path, self._source = path, source
        self._labels = table.column("label").combine_chunks()
        self._texts = table.column("key")
        self._keys = KeyTable(self._texts.to_pylist())
        twice = self._keys.first_duplicate()
        if twice:
            key = self._texts[twice[1]].as_py()
            raise UsageError(f"The labels file {path} has the key {key!r} twice; keep one of the two rows.")
        self._normalized = KeyTable(normalized_key(source, key) for key in self._texts.to_pylist())
        for twice in self._normalized.duplicates().tolist():
            if self._labels[twice[0]] == self._labels[twice[1]]:
                continue
            first, second = (self._texts[row].as_py() for row in twice)
            raise UsageError(
                f"The labels file {path} has two labels for one image, as {first!r} and as {second!r}; keep one of "
                "the two rows."
            )
        self._used: npt.NDArray[np.bool_] = np.zeros(len(self._keys), bool)

    def look_up(self, keys: Sequence[str]) -> tuple[list[str | None], npt.NDArray[np.bool_]]:
        """Return the label of each key, None for an empty one, and whether the file has the key; count it as used."""
        numbers = self._keys.find(keys)
        others = np.flatnonzero(numbers < 0).tolist()
        numbers[others] = self._normalized.find([normalized_key(self._source, keys[row]) for row in others])
        found = numbers >= 0
        self._used[numbers[found]] = True
        labels = self._labels.take(pa.array(numbers, mask=~found)).to_pylist()
        return [label or None for label in labels], found

    @property
    def used(self) -> int:
        """The number of the file's keys that were looked up."""
        return int(self._used.sum())

    @property
    def unknown(self) -> int:
        """The number of the file's keys that were not looked up, because they match no image."""
        return len(self._used) - self.used

    @property
    def example(self) -> str:
        """The first key of the file, "" if it has none."""
        return str(self._texts[0]) if len(self._texts) else ""


def normalized_key(source: SourceEntry, text: str) -> str:
    """Return a path as a key: relative to the source's root if it is below it, with "/", without "./" and "file://"."""
    if text.startswith("file://"):
        text = unquote(text.removeprefix("file://"))
    text = text.replace("\\", "/")
    text = posixpath.normpath(text) if text else ""
    return text.removeprefix(f"{uris.root(source)}/")


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise UsageError(f"There is no labels file {path}; correct the path after --labels.")
    try:
        is_parquet = path.suffix.lower() in {".parquet", ".pq"}
        table = _key_and_label(pyarrow.parquet.read_table(path) if is_parquet else _read_csv(path), path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"The labels file {path} is neither CSV nor Parquet of key,label: {reason}") from error
    if table.column("key").null_count:
        raise UsageError(f"The labels file {path} has a row without a key; add a key to every row.")
    if not len(table):
        raise UsageError(f"The labels file {path} has no rows, only the names of columns; name at least one image.")
    return table


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    parse = pyarrow.csv.ParseOptions(delimiter=max(_DELIMITERS, key=header.count))
    # Read every column as text: a label "007" must not become a number.
    names = pyarrow.csv.open_csv(path, parse_options=parse).schema.names
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)


def _key_and_label(table: pa.Table, path: Path) -> pa.Table:
    columns = []
    for name, others in (("key", _KEYS), ("label", _LABELS)):
        found = [name] if name in table.column_names else [other for other in others if other in table.column_names]
        if len(found) != 1:
            raise UsageError(
                f"The labels file {path} has the columns {', '.join(table.column_names)}: it needs key and label."
            )
        column = table.column(found[0])
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_floating(column.type):
            raise UsageError(
                f"The column {found[0]} of the labels file {path} has the type {column.type}; it must be text or "
                "integers."
            )
        columns.append(column.cast(pa.string()))
    for column in columns:
        column.validate(full=True)  # rejects text that is not UTF-8
    return pa.table(columns, ["key", "label"])
