"""Reader of the bytes of one image, for all sources."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from types import TracebackType

from lookalike_indexer.errors import DecodeError, IndexerError
from lookalike_indexer.sources.container import Container, is_contained, is_remote, split

__all__ = ["Fetcher", "fetch", "is_contained"]

_OPEN_CONTAINERS = 4
_Stamp = tuple[int, int, int]


class Fetcher:
    """Reads images and keeps recently read containers open, each at its latest position.

    Members of one container that are read in its order cost one pass over it. A container that changed (another file,
    size or time) is reopened. Several threads may use one Fetcher; members are read one at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[_Stamp, Container]] = OrderedDict()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fetch(self, uri: str, max_bytes: int) -> bytes:
        """Return the encoded bytes of an image, by its absolute URI.

        The URI is the path of a file, "FILE#KEY" of a container, or the URL of an object. DecodeError of the kind
        "missing", "unreadable" or "limit" (more than `max_bytes`); an empty file is "damaged".
        """
        if not uri:
            raise DecodeError("its file name is not valid UTF-8; rename the file", kind="unreadable")
        if is_remote(uri):
            # Import it only for object stores: decoding workers start without it.
            from lookalike_indexer.sources.objects import read_object

            return _checked(read_object(uri, max_bytes), max_bytes)
        inside = split(uri)
        if inside is None:
            return _checked(_read_file(uri, max_bytes), max_bytes)
        with self._lock:
            return _checked(self._container(inside[0]).read(inside[1], max_bytes), max_bytes)

    def close(self) -> None:
        """Close all containers; the next `fetch` opens what it needs."""
        with self._lock:
            while self._open:
                self._open.popitem()[1][1].close()

    def _container(self, path: str) -> Container:
        now = _stamp(path)
        known = self._open.pop(path, None)
        if known and known[0] != now:
            known[1].close()
            known = None
        if not known:
            while len(self._open) >= _OPEN_CONTAINERS:
                self._open.popitem(last=False)[1][1].close()
            known = now, _opened(path)
        self._open[path] = known
        return known[1]


_process_fetcher = Fetcher()


def fetch(uri: str, max_bytes: int) -> bytes:
    """Call `Fetcher.fetch` of this process's Fetcher."""
    return _process_fetcher.fetch(uri, max_bytes)


def _read_file(path: str, max_bytes: int) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a FIFO, a socket or a device"
            raise DecodeError(f"the file cannot be read: it is {what}", kind="unreadable")
        if status.st_size > max_bytes:
            raise _too_large(max_bytes)
        # Nonblocking: a FIFO that replaced the file must not block the run.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            # One byte more than the limit shows that the file is longer, without reading all of it.
            return file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DecodeError("there is no such file", kind="missing") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DecodeError(f"the file cannot be read: {reason}", kind="unreadable") from error


def _checked(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if not data:
        raise DecodeError("the file is empty")
    return data


def _too_large(max_bytes: int) -> DecodeError:
    return DecodeError(f"the file is larger than the {max_bytes:,} bytes that are allowed", kind="limit")


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)
    except OSError as error:
        raise DecodeError(f"the file cannot be read: {error.strerror}", kind="unreadable") from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _opened(path: str) -> Container:
    # Import them only for containers: decoding workers start without them.
    if path.lower().endswith((".tar", ".zip")):
        from lookalike_indexer.sources.archive_files import open_archive

        try:
            return open_archive(path)
        except IndexerError as error:
            raise DecodeError(str(error), kind="unreadable") from error
    from lookalike_indexer.sources.parquet_rows import ParquetRows

    return ParquetRows(path)
