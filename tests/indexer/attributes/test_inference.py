"""Inference of a column's type from its texts."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from lookalike_indexer.attributes.inference import TextColumn, from_text


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "-20", None], "int64", [1, -20, None]),
        (["0", "9223372036854775807"], "int64", [0, 2**63 - 1]),
        (["1", "2.5", "-1e3", ".5", "3."], "float64", [1, 2.5, -1000, 0.5, 3]),
        (["1.5", "nan", "-inf"], "float64", [1.5, None, float("-inf")]),
        (["true", "FALSE"], "bool", [True, False]),
        (["007", "12"], "string", ["007", "12"]),
        (["12345678901234567890"], "float64", [12345678901234567890.0]),
        (["1", "x"], "string", ["1", "x"]),
        (["true", "1"], "string", ["true", "1"]),
        ([None, None], "string", [None, None]),
        (["", "1"], "string", ["", "1"]),
        (["2026-02-30"], "string", ["2026-02-30"]),
        (
            ["2026-01-31", "2026-01-31 10:00", "2026-01-31T10:00:00.1234567Z", "2026-01-31T10:00:00-0530"],
            "timestamp",
            [
                dt.datetime(2026, 1, 31),
                dt.datetime(2026, 1, 31, 10),
                dt.datetime(2026, 1, 31, 10, 0, 0, 123456),
                dt.datetime(2026, 1, 31, 15, 30),
            ],
        ),
        (['["a","b"]', "[]", None], "list<string>", [["a", "b"], [], None]),
        (["[1]"], "string", ["[1]"]),
        (["[" * 5000 + "]"], "string", ["[" * 5000 + "]"]),
    ],
)
def test_column_type_depends_on_all_values(texts, kind, values):
    column = TextColumn()
    array = pa.array(texts, pa.string())
    # Batch by batch, as a file is read.
    for start in range(len(texts)):
        column.see(array.slice(start, 1))
    assert column.kind == kind
    assert from_text(array, kind).to_pylist() == values
