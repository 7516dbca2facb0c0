from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike_indexer.collection.arrow_numbers import of_arrow, to_arrow


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float16, np.float32, np.float64, np.uint8])
def test_numbers_are_the_same_in_arrow_and_back(kind):
    numbers = np.arange(12).astype(kind)
    there = to_arrow(numbers)
    assert there.equals(pa.array(numbers))
    for some in (slice(0, 12), slice(3, 7), slice(5, 5)):
        part = there.slice(some.start, some.stop - some.start)
        assert of_arrow(part).dtype == kind
        assert of_arrow(part).tolist() == numbers[some].tolist()
    assert to_arrow(numbers[::2]).to_pylist() == numbers[::2].tolist()


def test_nulls_are_rejected():
    with pytest.raises(pa.ArrowInvalid, match="gaps"):
        of_arrow(pa.array([1, None, 3]))
