"""CSV tables: separated by commas, semicolons or tabs, with the column names in the first line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from lookalike_indexer.attributes.inference import TextColumn, converted
from lookalike_indexer.errors import UsageError

_DELIMITERS = ",;\t"
_BLOCK = 4 << 20


class CsvTable:
    """Rows of a CSV file in UTF-8. An empty cell is null; a quoted empty cell is an empty string."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raise UsageError if it cannot be read as CSV."""
        self._path = path
        try:
            with path.open(encoding="utf-8-sig") as file:
                header = file.readline()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The table {path} cannot be read as CSV: {error}") from error
        self._parse = pyarrow.csv.ParseOptions(
            delimiter=max(_DELIMITERS, key=header.count), newlines_in_values=True, ignore_empty_lines=True
        )
        self.names: Sequence[str] = self._opened(None).schema.names

    def kinds(self, columns: Sequence[str], types: Mapping[str, str]) -> dict[str, str]:
        """Return the types of columns as Source.kinds does, by all values of a column."""
        unknown = {name: TextColumn() for name in columns if name not in types}
        if unknown:
            for batch in self._read(list(unknown)):
                for name, column in unknown.items():
                    column.see(batch.column(name))
        return {**{name: column.kind for name, column in unknown.items()}, **types}

    def batches(self, key: str, kinds: Mapping[str, str]) -> Iterator[pa.Table]:
        """Yield batches as Source.batches does."""
        for batch in self._read([key, *kinds]):
            columns = [converted(batch.column(name), kind, name, str(self._path)) for name, kind in kinds.items()]
            yield pa.table([batch.column(key), *columns], [key, *kinds])

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        reader = self._opened(columns)
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise self._unreadable(error) from error
            yield batch

    def _opened(self, columns: Sequence[str] | None) -> pyarrow.csv.CSVStreamingReader:
        # Read every column as text: its type depends on all of its values.
        convert = pyarrow.csv.ConvertOptions(
            column_types=None if columns is None else dict.fromkeys(columns, pa.string()),
            include_columns=columns,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        read = pyarrow.csv.ReadOptions(block_size=_BLOCK)
        try:
            return pyarrow.csv.open_csv(
                self._path, read_options=read, parse_options=self._parse, convert_options=convert
            )
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> UsageError:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return UsageError(f"The table {self._path} cannot be read as CSV: {reason}.")
