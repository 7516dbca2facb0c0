"""JSON lines tables: one object per line, whose names are the columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from lookalike_indexer.attributes.inference import TextColumn, converted
from lookalike_indexer.attributes.types import cast
from lookalike_indexer.collection.schema import ATTRIBUTE_TYPES
from lookalike_indexer.errors import UsageError

_BATCH = 4096
_KINDS: dict[type, str] = {bool: "bool", int: "int64", float: "float64", str: "string", list: "list<string>"}


class JsonTable:
    """Rows of a JSON lines file. A name that a line lacks is null."""

    def __init__(self, path: Path) -> None:
        """Open the file and read all of it to determine its columns. Raise UsageError if a line is not an object."""
        self._path = path
        names: dict[str, None] = {}
        for rows in self._read():
            for row in rows:
                names.update(dict.fromkeys(row))
        self.names: Sequence[str] = list(names)

    def kinds(self, columns: Sequence[str], types: Mapping[str, str]) -> dict[str, str]:
        """Return the types of columns as Source.kinds does, by all values. Strings that are all times become
        timestamps.
        """
        unknown = [name for name in columns if name not in types]
        seen: dict[str, set[type]] = {name: set() for name in unknown}
        times = {name: TextColumn(("timestamp",)) for name in unknown}
        for rows in self._read() if unknown else ():
            for name in unknown:
                values = [row.get(name) for row in rows]
                seen[name].update(map(type, values))
                texts = [value for value in values if isinstance(value, str)]
                times[name].see(pa.array(texts, pa.string()))
        return {**{name: self._kind(name, seen[name], times[name]) for name in unknown}, **types}

    def _kind(self, name: str, seen: set[type], times: TextColumn) -> str:
        kinds = {_KINDS.get(one, one.__name__) for one in seen - {type(None)}}
        if kinds == {"int64", "float64"}:
            return "float64"
        if len(kinds) > 1 or not kinds <= set(_KINDS.values()):
            raise UsageError(
                f"The column {name} of {self._path} has values of the types {', '.join(sorted(kinds))}; give it one "
                f"type, leave it out with --columns, or read it as text with --type {name}=string."
            )
        return times.kind if kinds == {"string"} else next(iter(kinds), "string")

    def batches(self, key: str, kinds: Mapping[str, str]) -> Iterator[pa.Table]:
        """Yield batches as Source.batches does."""
        for rows in self._read():
            keys = [_text(row.get(key)) for row in rows]
            columns = [self._column([row.get(name) for row in rows], kind, name) for name, kind in kinds.items()]
            yield pa.table([pa.array(keys, pa.string()), *columns], [key, *kinds])

    def _column(self, values: list[Any], kind: str, name: str) -> pa.Array:
        if kind == "string":
            return pa.array(list(map(_text, values)), pa.string())
        if any(isinstance(value, str) for value in values):
            return converted(pa.array(list(map(_text, values)), pa.string()), kind, name, str(self._path))
        try:
            return (
                cast(pa.array(values), kind)
                if any(value is not None for value in values)
                else pa.nulls(len(values), ATTRIBUTE_TYPES[kind])
            )
        except (pa.ArrowException, TypeError, OverflowError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UsageError(f"The column {name} of {self._path} is not all {kind}: {reason}.") from error

    def _read(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the objects of the file in batches."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        line = 0
        try:
            with self._path.open("rb") as file:
                while lines := list(islice(file, _BATCH)):
                    rows = []
                    for one in lines:
                        line += 1
                        if one.strip():
                            rows.append(decode(one))
                    yield rows
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(
                f"Line {line} of {self._path} is not a JSON object: {error}; the file must have one object a line."
            ) from error
        except OSError as error:
            raise UsageError(f"The table {self._path} cannot be read: {error.strerror}.") from error


def _text(value: Any) -> str | None:
    """Return a value as text; as JSON if it is not a string."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
