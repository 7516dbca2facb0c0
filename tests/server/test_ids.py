from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike_server.columns.ids import Ids

_ENDS = np.iinfo(np.int64)
_ANY = st.integers(int(_ENDS.min), int(_ENDS.max))


@pytest.mark.parametrize("taken_out", [[], [1], [0, 9], [4, 5, 6]])
def test_ids_with_and_without_gaps_map_to_their_rows(taken_out: list[int]) -> None:
    values = np.delete(np.arange(100, 110), taken_out)
    rows, found = Ids(values).rows(np.arange(95, 115)[::-1])
    assert found.tolist() == [value in values for value in range(114, 94, -1)]
    assert values[rows[found]].tolist() == [value for value in range(114, 94, -1) if value in values]


@given(st.sets(_ANY, max_size=6), st.lists(_ANY, max_size=6))
def test_any_ids(stored: set[int], asked: list[int]) -> None:
    values = np.array(sorted(stored), np.int64)
    wanted = np.array([*asked, *stored], np.int64)
    rows, found = Ids(values).rows(wanted)
    assert found.tolist() == [value in stored for value in wanted.tolist()]
    assert values[rows[found]].tolist() == wanted[found].tolist()


def test_no_ids() -> None:
    rows, found = Ids(np.empty(0, np.int64)).rows(np.array([1, 2]))
    assert (len(rows), found.tolist()) == (2, [False, False])
