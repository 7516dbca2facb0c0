"""Files of a generation that the processes of one server map, in a folder of their own.

Columns of images, rows of spaces, and clusterings are written here once, when a generation is
loaded. The engine process maps them too, so there is one copy for all. The folder is removed with
the generation.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DeviceError
from lookalike_server.columns.array_file import Arrays, map_arrays, write_arrays


class SharedFiles:
    """Files of one generation. `digests` maps file names to digests."""

    def __init__(self, parent: Path) -> None:
        """Raises DeviceError if the folder cannot be created."""
        with _device_errors(parent):
            parent.mkdir(exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix="generation-", dir=parent))
        self.digests: dict[str, str] = {}

    def mapped(self, name: str, arrays: Arrays) -> Arrays:
        """Write arrays to a file and return them mapped from it. Raises DeviceError if the disk is full."""
        with _device_errors(self.folder.parent):
            self.digests[name] = write_arrays(self.folder / name, arrays)
            return map_arrays(self.folder / name, self.digests[name])

    def remove(self) -> None:
        """Remove the folder; mapped arrays stay readable."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _device_errors(folder: Path) -> Iterator[None]:
    """Convert an OSError to a DeviceError, so that loading is retried: space may be freed meanwhile."""
    try:
        yield
    except OSError as error:
        why = f"{os.strerror(error.errno)}. " if error.errno else f"{str(error).rstrip('.')}. "
        raise DeviceError(
            f"The columns for the fronts cannot be written below {folder}: {why}Set TMPDIR to a folder with more room, "
            "or serve with --fronts 0."
        ) from error


def map_shared(folder: Path, digests: Mapping[str, str], name: str) -> Arrays:
    """Return the arrays of a file of another process's SharedFiles.

    Raises DataLossError if the file is not what was written.
    """
    return map_arrays(folder / name, digests[name])


def file_of_space(reader: CollectionReader, name: str) -> str:
    """Return the file with the rows of a space. Numbered, because names of spaces may be no valid file names."""
    return f"space-{sorted(reader.manifest.spaces).index(name)}"


def file_of_clustering(reader: CollectionReader, name: str) -> str:
    """Return the file with a clustering."""
    return f"clustering-{sorted(reader.manifest.clusterings).index(name)}"
