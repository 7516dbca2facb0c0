from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike_indexer.errors import NotFoundError
from lookalike_server.columns.columns import Columns
from lookalike_server.columns.keys import KeyIndex

KEYS = ["b.jpg", "a.jpg", "ä/ü.jpg", "a", "", "日本/猫.png", "a.jpg2", "zz", "\U0001f600.gif"]


def table(keys: list[str], chunk: int = 4) -> pa.Table:
    rows = len(keys)
    labels = [None if row % 4 == 0 else ("", "cat", "dog")[row % 3] for row in range(rows)]
    whole = pa.table(
        {
            "id": pa.array(np.arange(rows) * 10 + 3),
            "key": pa.array(keys, pa.string()),
            "label": pa.array(labels, pa.string()),
            "uri": pa.array([f"/x/{key}" for key in keys], pa.string()),
            "width": pa.array(np.arange(rows), pa.int32()),
            "height": pa.array(np.arange(rows) + 1, pa.int32()),
        }
    )
    return pa.concat_tables([whole.slice(start, chunk) for start in range(0, rows, chunk)] or [whole])


@pytest.fixture
def columns() -> Columns:
    return Columns(table(KEYS), "toys")


def test_keys_find_their_rows(columns) -> None:
    assert columns.rows_of_keys(KEYS).tolist() == list(range(len(KEYS)))
    assert columns.keys(np.array([5, 0, 5])) == ["日本/猫.png", "b.jpg", "日本/猫.png"]


@pytest.mark.parametrize("key", ["c", "a.jp", "a.jpg3", "\U0001f600", "A", "日本"])
def test_unknown_keys_are_named(columns, key) -> None:
    with pytest.raises(NotFoundError) as caught:
        columns.rows_of_keys(["a", key])
    assert repr(key) in str(caught.value)


def test_ids_find_their_rows(columns) -> None:
    assert columns.rows_of_ids(np.array([83, 3, 53])).tolist() == [8, 0, 5]
    for unknown in (4, -1, 93, 2**62):
        with pytest.raises(NotFoundError, match=str(unknown)):
            columns.rows_of_ids(np.array([3, unknown]))


def test_labels_tell_none_from_empty_in_listing_only(columns) -> None:
    assert columns.labels(np.arange(6)) == ["", "cat", "dog", "", "", "dog"]
    assert columns.rows_with_label("dog").tolist() == [2, 5]
    assert columns.rows_with_label("").tolist() == [3, 6]
    # Found without a scan of all images.
    assert np.shares_memory(columns.rows_with_label("dog"), columns.rows_with_label("dog"))
    with pytest.raises(NotFoundError, match="'cow'"):
        columns.rows_with_label("cow")


def test_sizes_and_uris(columns) -> None:
    rows = np.array([7, 1])
    assert columns.widths(rows).tolist() == [7, 1]
    assert columns.heights(rows).tolist() == [8, 2]
    assert columns.uris(rows) == ["/x/zz", "/x/a.jpg"]


def test_empty_collection(columns) -> None:
    empty = Columns(table([]), "toys")
    assert len(empty) == 0
    with pytest.raises(NotFoundError):
        empty.rows_of_keys(["a"])
    with pytest.raises(NotFoundError):
        empty.rows_of_ids(np.array([3]))


def test_slice_of_keys_is_indexed_as_itself() -> None:
    keys = pa.array([f"{number % 97:03d}-{number}" for number in range(1000)], pa.large_string())
    index = KeyIndex(keys.slice(100, 500))
    assert index.row(keys[100].as_py()) == 0
    assert index.row(keys[599].as_py()) == 499
    assert index.row(keys[99].as_py()) is None
    assert index.row(keys[600].as_py()) is None
