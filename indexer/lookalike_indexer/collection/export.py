"""Export of a space's embeddings to Parquet, or to a NumPy array with a table of keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection import schema
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError, NotFoundError, UsageError
from lookalike_indexer.progress import Progress


@dataclass(frozen=True)
class Exported:
    """The result of an export: the space, its rows and dimensions, and the files."""

    space: str
    rows: int
    dim: int
    files: list[str]


def exported(reader: CollectionReader, space: str, file: Path, progress: Progress) -> Exported:
    """Write a space's embeddings as float32, in row order, within the memory of one block and the images table.

    Raise UsageError if the name does not end in .parquet or .npy. Raise NotFoundError if the space does not exist, or
    the file cannot be written. An existing file of that name is replaced when the new one is complete.
    """
    space, entry = reader.space(space)
    keys = file.with_suffix(".keys.csv")
    if file.suffix not in (".parquet", ".npy"):
        raise UsageError(f"{file} must end in .parquet or .npy.")
    images = reader.images(["id", "key", "label"]).combine_chunks()
    files = [str(file)] if file.suffix == ".parquet" else [str(file), str(keys)]
    with progress.stage(f"Exporting {space}", entry.rows, "image") as bar:
        blocks = _blocks(reader, space, images)
        if file.suffix == ".parquet":
            with _staged(file) as temporary:
                _write_parquet(temporary, blocks, entry.dim, bar.advance)
        else:
            with _staged(file) as temporary, _staged(keys) as beside:
                _write_numpy(temporary, beside, blocks, (entry.rows, entry.dim), bar.advance)
    return Exported(space, entry.rows, entry.dim, files)


def _blocks(reader: CollectionReader, space: str, images: pa.Table) -> Iterator[tuple[pa.Table, Float32]]:
    """Yield the id, key and label of the rows of a space, and their embeddings, block by block."""
    every = images.column("id").to_numpy()
    for ids, vectors in reader.stream(space):
        rows = np.searchsorted(every, ids)
        if len(ids) and not np.array_equal(every[np.minimum(rows, len(every) - 1)], ids):
            raise DataLossError(f"The space {space} has embeddings of images that are not in the images table.")
        yield images.take(pa.array(rows)), vectors


def _write_parquet(
    path: Path, blocks: Iterator[tuple[pa.Table, Float32]], dim: int, advance: Callable[[int], None]
) -> None:
    vector = schema.embeddings(dim, "float32").field("embedding")
    columns = pa.schema([schema.IMAGES.field("id"), schema.IMAGES.field("key"), schema.IMAGES.field("label"), vector])
    options = schema.writer_options(columns)
    size = options.pop("row_group_size")
    with pq.ParquetWriter(path, columns, **options) as writer:
        for table, vectors in blocks:
            lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=vector.type)
            writer.write_table(table.append_column(vector, lists).cast(columns), row_group_size=size)
            advance(len(table))


def _write_numpy(
    path: Path,
    keys: Path,
    blocks: Iterator[tuple[pa.Table, Float32]],
    shape: tuple[int, int],
    advance: Callable[[int], None],
) -> None:
    out = np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=shape)
    start = 0
    columns = pa.schema([schema.IMAGES.field(name) for name in ("id", "key", "label")])
    with csv.CSVWriter(keys, columns) as writer:
        for table, vectors in blocks:
            out[start : start + len(vectors)] = vectors
            writer.write_table(table.cast(columns))
            start += len(vectors)
            advance(len(vectors))
    out.flush()


@contextmanager
def _staged(final: Path) -> Iterator[Path]:
    temporary = final.with_name(f".tmp-{os.getpid()}-{final.name}")
    try:
        yield temporary
        os.replace(temporary, final)
    except OSError as error:
        raise NotFoundError(f"{final} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
