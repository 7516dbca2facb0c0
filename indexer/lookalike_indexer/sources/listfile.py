"""A list file: a text file that names one picture a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.sources.row import SourceRow


class ListSource:
    """The pictures that a UTF-8 text file names, in its order; paths are relative to the file's folder.

    Empty lines are skipped. The key is the path as written, with "/". There
    are no labels but those of a labels file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.left_out: dict[str, int] = {}
        self.unreadable_folders: list[str] = []

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry("list", str(self.path))

    def keys(self) -> Iterator[str]:
        try:
            with self.path.open(encoding="utf-8") as lines:
                for line in lines:
                    if key := line.strip():
                        yield key.removeprefix("./")
        except UnicodeDecodeError as error:
            raise UsageError(f"The list file {self.path} is not UTF-8 text.") from error
        except OSError as error:
            raise IndexerError(f"The list file {self.path} cannot be read: {error.strerror}.") from error

    def rows(self) -> Iterator[SourceRow]:
        for key in self.keys():
            path = self.path.parent / key
            try:
                status = path.stat()
                yield SourceRow(key, None, key, status.st_size, status.st_mtime_ns)
            except (OSError, ValueError):
                # Not there, or not a possible path: reading it will say so.
                yield SourceRow(key, None, key, 0, 0)
