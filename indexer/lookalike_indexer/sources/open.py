"""Tell what kind of source a path names."""

from __future__ import annotations

from pathlib import Path

from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.sources.directory import EXTENSIONS, DirectorySource
from lookalike_indexer.sources.listfile import ListSource
from lookalike_indexer.sources.parquet import ParquetSource
from lookalike_indexer.sources.row import Source


def open_source(text: str) -> Source:
    """The source that a path names: a directory, a Parquet file, or else a text file with one path a line.

    NotFoundError: there is nothing. UsageError: a single picture, or a Parquet file without the columns.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        return DirectorySource(path)
    if not path.is_file():
        raise NotFoundError(
            f"There is no folder, list file or Parquet file {text}; name the folder that your pictures are in."
        )
    if path.suffix.lower() in {".parquet", ".pq"}:
        return ParquetSource(path)
    if path.suffix.lower() in EXTENSIONS:
        raise UsageError(f"{text} is a single picture; name the folder that it is in, or a list file.")
    return ListSource(path)
