"""A user's table as a stream of batches: CSV, Parquet or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from lookalike_indexer.attributes.types import check_name, checked_kind
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.text import did_you_mean

# The column that corrects labels; its values are strings.
LABEL = "label"
# Suffixes that mean CSV.
_TEXT = {".csv", ".tsv", ".txt", ""}


@dataclass(frozen=True)
class TableColumns:
    """The selection of a table: the key column, the columns (all others if empty), and types by column."""

    key: str
    columns: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """A file of rows. `names` are its columns in order."""

    names: Sequence[str]

    def kinds(self, columns: Sequence[str], types: Mapping[str, str]) -> dict[str, str]:
        """Return the type of each of some columns by name; those in `types` as given. Reads the file if necessary."""
        ...

    def batches(self, key: str, kinds: Mapping[str, str]) -> Iterator[pa.Table]:
        """Yield the rows in order: the key column as strings, called `key`, and columns of these types.

        Raise UsageError if a value has another type.
        """
        ...


@dataclass(frozen=True)
class UserTable:
    """A table to attach: its file, and the types of its columns by name, in order."""

    path: Path
    key: str
    kinds: dict[str, str]
    source: Source

    def batches(self) -> Iterator[pa.Table]:
        """Yield tables with the key column first, and then the columns by their names."""
        names = list(self.kinds)
        for batch in self.source.batches(self.key, self.kinds):
            yield batch.select([self.key, *names])


def open_table(path: Path, wanted: TableColumns) -> UserTable:
    """Open a table, and determine the types of its columns.

    Raise NotFoundError if the file does not exist. Raise UsageError if the file has another type, a column does not
    exist, or a name or type is not supported.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no table {path}.")
    source = _source(path)
    _check_names(path, source.names, wanted)
    columns = list(wanted.columns) or [name for name in source.names if name != wanted.key]
    if not columns:
        raise UsageError(f"The table {path} has no column besides its keys; there is nothing to attach.")
    for name in columns:
        check_name(name)
    types = {name: checked_kind(name, kind) for name, kind in wanted.types.items()}
    if LABEL in columns:
        types[LABEL] = "string"
    kinds = source.kinds(columns, types)
    return UserTable(path, wanted.key, {name: kinds[name] for name in columns}, source)


def _source(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix in {".parquet", ".pq"}:
        from lookalike_indexer.attributes.parquet_table import ParquetTable

        return ParquetTable(path)
    if suffix in {".jsonl", ".ndjson", ".json"}:
        from lookalike_indexer.attributes.json_table import JsonTable

        return JsonTable(path)
    if suffix not in _TEXT:
        raise UsageError(f"{path} is not a table that lookalike reads; save it as .csv, .tsv, .parquet or .jsonl.")
    from lookalike_indexer.attributes.csv_table import CsvTable

    return CsvTable(path)


def _check_names(path: Path, names: Sequence[str], wanted: TableColumns) -> None:
    twice = {name for name in names if list(names).count(name) > 1}
    asked = [wanted.key, *wanted.columns, *wanted.types]
    if twice & {*asked, *(() if wanted.columns else names)}:
        raise UsageError(f"The table {path} has the column {min(twice)!r} twice; rename one of them.")
    for name in asked:
        if name not in names:
            raise UsageError(f"The table {path} has no column {name!r}{did_you_mean(name, names, 'it has')}.")
    if wanted.key in wanted.columns:
        raise UsageError(
            f"The column {wanted.key!r} has the keys and cannot also be an attribute; remove it from --columns."
        )
