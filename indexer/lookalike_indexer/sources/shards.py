"""A folder of Parquet, tar and zip files as a source."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.sources.archive import ArchiveSource
from lookalike_indexer.sources.directory import DirectorySource, printable
from lookalike_indexer.sources.image_files import CONTAINERS, suffix_of
from lookalike_indexer.sources.parquet import ParquetSource
from lookalike_indexer.sources.parquet_columns import NoImagesError
from lookalike_indexer.sources.row import SourceRow


class ShardSource:
    """The images of all shards below a folder, by the shards' names. A key is "SHARD/KEY".

    An unreadable shard is left out, counted, and listed among the unreadable folders. A Parquet file without a column
    of images is left out and counted.
    """

    def __init__(self, root: Path, exclude: Sequence[str] = ()) -> None:
        self._exclude = tuple(exclude)
        self._folder = DirectorySource(root, exclude)
        self._counts: dict[str, int] = {}
        self._unreadable: list[str] = []

    @property
    def left_out(self) -> dict[str, int]:
        counts = dict(self._folder.left_out)
        for kind, count in self._counts.items():
            counts[kind] = counts.get(kind, 0) + count
        return counts

    @property
    def unreadable_folders(self) -> list[str]:
        return self._folder.unreadable_folders + self._unreadable

    @property
    def entry(self) -> SourceEntry:
        return dataclasses.replace(self._folder.entry, kind="shards")

    def has_shard(self) -> bool:
        """Return whether there is any shard."""
        try:
            return next(self._folder.files(CONTAINERS), None) is not None
        except IndexerError:
            return False

    def keys(self) -> Iterator[str]:
        """Yield the keys, in order. Raise UsageError if a row has no key, or a column has another type."""
        for row in self.rows():
            yield row.key

    def rows(self) -> Iterator[SourceRow]:
        self._counts, self._unreadable = {}, []
        for path, status in self._folder.files(CONTAINERS):
            if printable(path) != path or status is None:
                self._leave_out(path)
            else:
                yield from self._of_shard(path)

    def _of_shard(self, path: str) -> Iterator[SourceRow]:
        shard: ParquetSource | ArchiveSource | None = None
        try:
            file = self._folder.root / path
            is_archive = suffix_of(path) in {".tar", ".zip"}
            shard = ArchiveSource(file, self._exclude) if is_archive else ParquetSource(file)
            folder = posixpath.dirname(path)
            for row in shard.rows():
                uri = posixpath.join(folder, row.uri) if row.uri else ""
                yield dataclasses.replace(row, key=f"{path}/{row.key}", uri=uri)
        except NoImagesError:
            self._count("Parquet file without images", 1)
        except UsageError:
            raise
        except IndexerError:
            self._leave_out(path)
        for kind, count in shard.left_out.items() if shard else ():
            self._count(kind, count)

    def _leave_out(self, path: str) -> None:
        self._count("unreadable archive or Parquet file", 1)
        self._unreadable.append(printable(path))

    def _count(self, kind: str, count: int) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + count
