"""Reader of vectors and their keys: a NumPy array with a table of keys, or Parquet or Arrow with both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import matrix
from lookalike_indexer.errors import NotFoundError, UsageError

MAX_DIM = 65_536
_BATCH = 4096
_VECTORS = ("embedding", "vector", "vectors", "embeddings")


@dataclass(frozen=True)
class InputVectors:
    """Keys (rows,), labels or None, and `vectors`, a memory-mapped array (rows, dim) of floats."""

    keys: list[str]
    labels: list[str | None] | None
    vectors: npt.NDArray[Any]

    def rows(self, rows: npt.NDArray[np.int64]) -> Float32:
        """Return some vectors as float32, (n, dim). Raise UsageError if an embedding is not finite."""
        found = np.ascontiguousarray(self.vectors[rows], dtype=np.float32)
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            key = self.keys[int(rows[int(np.argmin(finite))])]
            raise UsageError(f"The vector of {key!r} has values that are not finite in float32; leave it out.")
        return found


@contextmanager
def input_vectors(path: Path, keys: Path | None, scratch: Path) -> Iterator[InputVectors]:
    """Open the vectors of a file; those of a table are copied to the file `scratch`, which is removed afterwards.

    Raise NotFoundError if the file does not exist. Raise UsageError for another type of file, or if the numbers of keys
    and vectors differ.
    """
    check_files(path, keys)
    try:
        if path.suffix == ".npy" and keys is not None:
            found = InputVectors(*_keys(keys), _array(path))
        else:
            found = _of_table(path, keys, scratch)
        _check(found, path)
        yield found
    finally:
        scratch.unlink(missing_ok=True)


def check_files(path: Path, keys: Path | None) -> None:
    """Check what needs no reading of the files; the errors are those of `input_vectors`."""
    for file in (path, keys):
        if file is not None and not file.is_file():
            raise NotFoundError(f"There is no file {file}.")
    if path.suffix != ".npy" and path.suffix not in _KINDS:
        raise UsageError(f"{path} must be a .npy, .parquet or .arrow file.")
    if path.suffix == ".npy" and keys is None:
        raise UsageError(f"{path} has no keys; give them with --keys FILE: one key a line, or CSV with a column key.")


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        found: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as an array of numpy: {str(error).splitlines()[0]}.") from error
    return found


def _keys(path: Path) -> tuple[list[str], list[str | None] | None]:
    """Return keys, and labels if a CSV has the column `label`."""
    try:
        if path.suffix != ".csv":
            return path.read_text("utf-8").splitlines(), None
        text = csv.ConvertOptions(column_types={"key": pa.string(), "label": pa.string()}, strings_can_be_null=True)
        table = csv.read_csv(path, convert_options=text)
    except (UnicodeDecodeError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error
    return _columns(table, path)


def _columns(table: pa.Table, path: Path) -> tuple[list[str], list[str | None] | None]:
    if "key" not in table.column_names:
        raise UsageError(f"{path} has no column key; it has: {', '.join(table.column_names)}.")
    labels = table.column("label").cast(pa.string()).to_pylist() if "label" in table.column_names else None
    return table.column("key").cast(pa.string()).to_pylist(), labels


@dataclass(frozen=True)
class _Table:
    """A table in a file: the names of its columns, its number of rows, and a reader of some columns in batches."""

    names: list[str]
    rows: int
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]


@contextmanager
def _parquet(path: Path) -> Iterator[_Table]:
    with pq.ParquetFile(path) as file:
        yield _Table(
            file.schema_arrow.names,
            file.metadata.num_rows,
            lambda columns: file.iter_batches(batch_size=_BATCH, columns=columns),
        )


@contextmanager
def _arrow(path: Path) -> Iterator[_Table]:
    """Open Arrow's file format, also called Feather, or its stream format; one record batch is in memory.

    pa.ArrowException: another kind of file, or its offsets lead out of its buffers.
    """
    with pa.memory_map(str(path)) as mapped:
        names: list[str] = _record_batches(mapped, [])[0].names

        def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
            for batch in _record_batches(mapped, [names.index(name) for name in columns])[1]:
                # pyarrow does not check the offsets of a file.
                batch.validate(full=True)
                for start in range(0, batch.num_rows, _BATCH):
                    yield batch.slice(start, _BATCH).select(columns)

        # Count by the keys, which are far smaller than vectors, because reading decompresses them.
        counted = names[names.index("key") if "key" in names else 0 :][:1]
        yield _Table(names, sum(batch.num_rows for batch in batches(counted)), batches)


def _record_batches(mapped: pa.MemoryMappedFile, columns: list[int]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema and the record batches of the columns at some positions, or all if empty, of a file or a
    stream.
    """
    options = pa.ipc.IpcReadOptions(included_fields=columns)
    mapped.seek(0)
    try:
        file = pa.ipc.open_file(mapped, options=options)
    except pa.ArrowInvalid:
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped, options=options)
        return stream.schema, iter(stream)
    return file.schema, (file.get_batch(place) for place in range(file.num_record_batches))


_KINDS = {".parquet": _parquet, ".pq": _parquet, ".arrow": _arrow, ".feather": _arrow}


def _texts(table: _Table, path: Path) -> pa.Table:
    if "key" not in table.names:
        raise UsageError(f"{path} has no column key; it has: {', '.join(table.names)}.")
    texts: list[str] = [name for name in ("key", "label") if name in table.names]
    batches = list(table.batches(texts))
    return pa.Table.from_batches(batches) if batches else pa.table({name: pa.array([], pa.string()) for name in texts})


def _of_table(path: Path, keys: Path | None, scratch: Path) -> InputVectors:
    try:
        with _KINDS[path.suffix](path) as table:
            column = next((name for name in _VECTORS if name in table.names), None)
            if column is None:
                raise UsageError(f"{path} has no column {' or '.join(_VECTORS[:2])}; it has: {', '.join(table.names)}.")
            named = _keys(keys) if keys else _columns(_texts(table, path), path)
            vectors = None
            start = 0
            for batch in table.batches([column]):
                block = _block(batch.column(0))
                if vectors is None:
                    shape = (table.rows, block.shape[1])
                    vectors = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float32, shape=shape)
                vectors[start : start + len(block)] = block
                start += len(block)
    except (OSError, ValueError, pa.ArrowException) as error:
        kind = "Arrow" if _KINDS[path.suffix] is _arrow else "Parquet"
        raise UsageError(f"{path} cannot be read as {kind} with vectors: {str(error).splitlines()[0]}.") from error
    return InputVectors(*named, np.empty((0, 1), np.float32) if vectors is None else vectors)


def _block(column: pa.Array) -> Float32:
    """Return lists of numbers of equal length as a matrix.

    Raise pa.ArrowException or ValueError if they have another form.
    """
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    if not any(each(column.type) for each in lists):
        raise pa.ArrowInvalid(f"its vectors are {column.type} in place of lists of numbers")
    if not pa.types.is_fixed_size_list(column.type):
        lengths = set(column.value_lengths().to_pylist())
        if len(lengths) != 1 or None in lengths:
            raise pa.ArrowInvalid("its vectors have different lengths")
        column = column.cast(pa.list_(pa.float32(), lengths.pop()))
    return matrix(column.cast(pa.list_(pa.float32(), column.type.list_size)))


def _check(found: InputVectors, path: Path) -> None:
    vectors = found.vectors
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not 1 <= vectors.shape[1] <= MAX_DIM or not len(vectors):
        raise UsageError(
            f"{path} has an array of {vectors.dtype} of shape {vectors.shape}; it must be floats of shape (images, "
            f"dimensions), with at most {MAX_DIM:,} dimensions."
        )
    if len(found.keys) != len(vectors):
        raise UsageError(
            f"There are {len(found.keys):,} keys and {len(vectors):,} vectors; give one key for each vector."
        )
    seen: set[str] = set()
    for row, key in enumerate(found.keys, 1):
        if not key:
            raise UsageError(f"Vector {row:,} of {path} has no key.")
        if key in seen:
            raise UsageError(f"The key {key!r} occurs twice; give each vector a unique key.")
        seen.add(key)
