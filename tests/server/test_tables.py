"""Arrow tables to messages, read back by the client."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike._experiment_replies import experiment
from lookalike._experiments import Experiment
from lookalike.v1 import experiment_pb2, types_pb2
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.result import Result
from lookalike_server.common.limits import Limits
from lookalike_server.processes import result_encoding as tables


def through(result: Result) -> Experiment:
    """Return a result as a client receives it."""
    data = tables.encoded(result).SerializeToString()
    return experiment(experiment_pb2.ExperimentResult.FromString(data), types_pb2.Served())


def column(array: pa.Array | pa.ChunkedArray):
    return through(Result("x", {}, {"t": pa.table({"c": array})})).tables["t"]["c"]


@pytest.mark.parametrize(
    ("arrow", "numpy"),
    [
        ("int8", "int32"), ("uint16", "int32"), ("int32", "int32"), ("uint32", "int64"), ("int64", "int64"),
        ("uint64", "int64"), ("float16", "float16"), ("float32", "float32"), ("float64", "float64"), ("bool", "bool"),
    ],
)  # fmt: skip
def test_numbers_keep_their_values_and_what_they_are(arrow, numpy) -> None:
    values = np.array([0, 1, 1, 0]).astype(arrow)
    found = column(pa.array(values))
    assert found.dtype == numpy
    assert found.tolist() == values.tolist()


@given(st.lists(st.none() | st.floats(), max_size=6), st.lists(st.none() | st.integers(-(2**40), 2**40), max_size=6))
def test_missing_numbers_are_nan(floats, integers) -> None:
    for values, kind in ((floats, pa.float64()), (integers, pa.int64())):
        found = column(pa.array(values, kind)).tolist()
        assert len(found) == len(values)
        for got, meant in zip(found, values, strict=True):
            assert got == meant or (math.isnan(got) and (meant is None or math.isnan(meant)))


@given(st.lists(st.none() | st.text(), max_size=6))
def test_texts_of_every_arrow_type_are_read(values) -> None:
    array = pa.array(values, pa.string())
    for stored in (
        array,
        array.cast(pa.large_string()),
        array.dictionary_encode(),
        pa.chunked_array([array, array[:0]]),
    ):
        assert column(stored) == tuple(values)
    assert column(pa.nulls(2)) == (None, None)


@given(st.lists(st.none() | st.lists(st.integers(0, 9), max_size=3), max_size=5))
def test_lists_of_varying_length(values) -> None:
    for kind in (pa.list_(pa.int64()), pa.large_list(pa.int64())):
        found = column(pa.array(values, kind))
        assert [None if one is None else one.tolist() for one in found] == values
    texts = [None if one is None else [str(number) for number in one] for one in values]
    found = column(pa.array(texts, pa.list_(pa.string())))
    assert [None if one is None else list(one) for one in found] == texts


def test_lists_of_one_length_are_a_matrix() -> None:
    array = pa.array([[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]], pa.list_(pa.float32(), 2))
    found = column(array)
    assert found.shape == (3, 2)
    assert found.tolist() == array.to_pylist()
    assert column(array[1:]).tolist() == [[3.5, 4.5], [5.5, 6.5]]
    missing = column(pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)))
    assert [None if one is None else one.tolist() for one in missing] == [[1, 2], None, [3, 4]]
    names = pa.array([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2))
    assert column(names) == (("a", "b"), ("c", "d"))


def test_settings_figures_and_findings_of_a_result_are_kept() -> None:
    settings = {"k": 3, "share": 0.5, "label": "dogs", "whiten": False, "color": None, "models": ["a", 1]}
    figures = {"purity": 1 / 3, "silhouette": math.nan, "nmi": 0.1}
    found = through(Result("split", settings, {"none": pa.table({})}, figures, ("One.", "Two.")))
    assert (found.kind, found.settings, found.findings) == ("split", settings, ("One.", "Two."))
    assert list(found.figures) == ["purity", "silhouette", "nmi"]
    assert found.figures["purity"] == 1 / 3
    assert math.isnan(found.figures["silhouette"])
    assert (found.tables["none"].rows, len(found.tables["none"])) == (0, 0)


def test_column_that_no_reply_can_hold_is_named() -> None:
    with pytest.raises(TypeError, match=r"the column when has the type timestamp"):
        tables.encoded(Result("x", {}, {"t": pa.table({"when": pa.array([0], pa.timestamp("s"))})}))


def test_answer_too_large_for_a_reply_is_rejected() -> None:
    result = Result("x", {}, {"points": pa.table({"x": np.zeros(11)})})
    assert len(tables.checked(result, Limits(max_table_rows=11)).tables) == 1
    with pytest.raises(UsageError, match="points of this result has 11 rows and the limit of a reply is 10"):
        tables.checked(result, Limits(max_table_rows=10))
    wide = Result("x", {}, {"points": pa.table({"x": np.zeros((1 << 20) // 8 + 100)})})
    with pytest.raises(UsageError, match="bytes and the limit of a reply is 2097152"):
        tables.checked(wide, Limits(max_message_bytes=2 << 20))
