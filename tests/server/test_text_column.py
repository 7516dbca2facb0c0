from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike_server.columns.text_column import TextColumn

TEXTS = [f"folder/ä{'x' * (row % 7)}{row}.jpg" if row % 5 else "" for row in range(300)]


@pytest.mark.parametrize("count", [0, 1, 64, 65, 300])
@pytest.mark.parametrize("first", [0, 11])
def test_texts_are_returned_in_the_order_of_their_rows(count, first):
    column = TextColumn(pa.array(TEXTS, pa.large_string())[first:])
    rows = np.random.default_rng(0).integers(0, 300 - first, count)
    assert column.of(rows) == [TEXTS[first + row] for row in rows.tolist()]


def test_column_without_texts_has_none():
    assert TextColumn(pa.array([], pa.large_string())).of(np.empty(0, np.int64)) == []
