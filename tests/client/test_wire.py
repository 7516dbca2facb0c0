"""Conversion of arrays to bytes and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lookalike import wire
from lookalike.v1 import types_pb2

DTYPES = ("float32", "float16", "int64", "int32", "float64", "bool")
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_array_survives_the_wire(array):
    tensor = types_pb2.Tensor.FromString(wire.encode(array).SerializeToString())
    back = wire.decode(tensor)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()  # bit by bit, including NaN
    assert not back.flags.writeable


@given(hnp.arrays("float32", (4, 6)), st.sampled_from(["reversed", "strided", "fortran", "big-endian"]))
def test_layout_in_memory_does_not_matter(array, layout):
    laid = {
        "reversed": array[::-1, ::-1],
        "strided": array[::2, 1::3],
        "fortran": np.asfortranarray(array),
        "big-endian": array.astype(">f4"),
    }[layout]
    np.testing.assert_array_equal(wire.decode(wire.encode(laid)), laid)


def test_bytes_are_little_endian_and_row_major():
    tensor = wire.encode(np.array([[1, 2], [3, 4]], np.int32))
    assert tensor.data == bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])
    assert list(tensor.shape) == [2, 2]
    assert tensor.element_type == types_pb2.ELEMENT_TYPE_INT32


@pytest.mark.parametrize("dtype", ["uint8", "int16", "complex64", "object", "U3", "datetime64[s]"])
def test_other_types_are_rejected_by_name(dtype):
    array = np.zeros(2, dtype)
    with pytest.raises(ValueError, match=f"an array of {array.dtype} cannot be sent".replace("[", r"\[")):
        wire.encode(array)


@given(
    st.lists(st.integers(-2, 2**62), max_size=4),
    st.integers(0, 8),
    st.binary(max_size=64),
)
def test_tensor_is_decoded_or_rejected_never_anything_else(shape, element_type, data):
    tensor = types_pb2.Tensor(element_type=element_type, shape=shape, data=data)
    try:
        array = wire.decode(tensor)
    except ValueError:
        return
    assert array.shape == tuple(shape)
    assert array.nbytes == len(data)


def test_tensor_without_a_type_is_rejected():
    with pytest.raises(ValueError, match="no element type that is known here"):
        wire.decode(types_pb2.Tensor(shape=[1], data=b"\0\0\0\0"))
