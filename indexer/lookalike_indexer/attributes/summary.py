"""Summary of each column of an attribute table: the number of images with a value, and examples."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from lookalike_indexer.collection.manifest import AttributeColumn

_EXAMPLES = 3
_LONGEST = 40
# The number of rows that are searched for examples.
_ROWS = 1000


class Summary:
    """Collects the summary from the parts of an attribute table, in order."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._counts = dict.fromkeys(kinds, 0)
        self._examples: dict[str, dict[str, None]] = {name: {} for name in kinds}

    def add(self, table: pa.Table) -> None:
        """Take a part into account."""
        for name, examples in self._examples.items():
            column = table.column(name)
            self._counts[name] += len(column) - column.null_count
            if len(examples) < _EXAMPLES:
                for value in column.drop_null().slice(0, _ROWS).to_pylist():
                    examples.setdefault(_shown(value))
                    if len(examples) == _EXAMPLES:
                        break

    @property
    def columns(self) -> list[AttributeColumn]:
        """The columns with their summaries."""
        return [
            AttributeColumn(name, kind, self._counts[name], list(self._examples[name]))
            for name, kind in self._kinds.items()
        ]


def _shown(value: object) -> str:
    """Return a value as a short string."""
    if value == "":
        return '""'
    if isinstance(value, list):
        text = f"[{', '.join(map(str, value))}]"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
