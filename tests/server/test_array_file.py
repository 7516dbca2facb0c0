"""Arrays in files that processes map."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike_indexer.errors import DataLossError, DeviceError
from lookalike_server.columns.array_file import bools, map_arrays, numbers, write_arrays
from lookalike_server.generation.shared_files import SharedFiles

ARRAYS = {
    "ids": np.array([3, 1, 2**60], np.int64),
    "codes": np.array([7], np.uint32),
    "distances": np.array([0.5, np.nan], np.float32),
    "none": np.empty(0, np.int64),
}
TEXTS = pa.array(["", "a", "\u00e4\u20ac"], pa.large_string())


def test_arrays_of_any_lengths_are_mapped_as_they_were_written(tmp_path) -> None:
    flags = np.array([True, False, True, True])
    path = tmp_path / "arrays"
    arrays = {**{name: numbers(values) for name, values in ARRAYS.items()}, "texts": TEXTS, "flags": numbers(flags)}
    mapped = map_arrays(path, write_arrays(path, arrays))
    for name, values in ARRAYS.items():
        found = mapped[name].to_numpy()
        assert found.dtype == values.dtype
        assert np.array_equal(found, values, equal_nan=name == "distances")
    assert mapped["texts"].equals(TEXTS)
    assert np.array_equal(bools(mapped["flags"]), flags)


def test_nothing_is_copied_and_the_file_may_go(tmp_path) -> None:
    path = tmp_path / "arrays"
    before = pa.total_allocated_bytes()
    mapped = map_arrays(path, write_arrays(path, {"ids": numbers(np.arange(1 << 20))}))
    assert pa.total_allocated_bytes() - before < 1 << 20
    path.unlink()
    assert mapped["ids"].to_numpy()[-1] == (1 << 20) - 1


def test_part_of_an_array_is_written_alone(tmp_path) -> None:
    path = tmp_path / "arrays"
    arrays = {"texts": TEXTS[1:], "ids": numbers(np.arange(9))[3:5]}
    mapped = map_arrays(path, write_arrays(path, arrays))
    assert mapped["texts"].to_pylist() == TEXTS.to_pylist()[1:]
    assert mapped["ids"].to_pylist() == [3, 4]


def test_another_file_than_was_written_is_data_loss(tmp_path) -> None:
    path = tmp_path / "arrays"
    digest = write_arrays(path, {"ids": numbers(np.arange(9))})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataLossError, match="arrays, which processes of this server share"):
        map_arrays(path, digest)


def test_folder_that_cannot_be_written_to_is_reported(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match=r"The columns for the fronts cannot be written below .*: .+\. Set TMPDIR"):
        SharedFiles(tmp_path / "file")
    shared = SharedFiles(tmp_path / "folder")
    shared.remove()
    with pytest.raises(DeviceError, match=r"cannot be written below .*: .+\. Set TMPDIR"):
        shared.mapped("ids", {"ids": numbers(np.arange(9))})
