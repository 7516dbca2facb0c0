"""Parquet tables, whose columns have types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.attributes.types import cast, is_text, kind_of
from lookalike_indexer.errors import UsageError
from lookalike_indexer.sources.parquet_columns import batches, open_parquet

_TYPES = "bool, integers, floats, text, dates, timestamps and lists of text"


class ParquetTable:
    """Rows of a Parquet file."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raise IndexerError if it cannot be read."""
        self._path = path
        self._schema: pa.Schema = self._opened().schema_arrow
        self.names: Sequence[str] = self._schema.names

    def kinds(self, columns: Sequence[str], types: Mapping[str, str]) -> dict[str, str]:
        """Return the types of columns as Source.kinds does, by the columns' own types."""
        found = {}
        for name in columns:
            given = self._schema.field(name).type
            kind = types.get(name) or kind_of(given)
            if kind is None:
                raise UsageError(
                    f"The column {name} of {self._path} has the type {given}; attributes are {_TYPES}. "
                    "Name the columns to attach with --columns."
                )
            found[name] = kind
        return found

    def batches(self, key: str, kinds: Mapping[str, str]) -> Iterator[pa.Table]:
        """Yield batches as Source.batches does."""
        given = self._schema.field(key).type
        plain = given.value_type if pa.types.is_dictionary(given) else given
        if not is_text(plain) and not pa.types.is_integer(plain):
            raise UsageError(f"The column {key} of {self._path} has the type {given}; keys must be text or integers.")
        for batch in batches(self._opened(), [key, *kinds], str(self._path)):
            columns = [self._cast(batch.column(name), kind, name) for name, kind in {key: "string", **kinds}.items()]
            yield pa.table(columns, [key, *kinds])

    def _cast(self, array: pa.Array, kind: str, name: str) -> pa.Array:
        try:
            found = cast(array, kind)
            # This rejects text that is not UTF-8.
            found.validate(full=True)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UsageError(f"The column {name} of {self._path} is not all {kind}: {reason}.") from error
        return found

    def _opened(self) -> pq.ParquetFile:
        return open_parquet(str(self._path))
