"""What was read from files that others may replace while the server runs: certificates, tokens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from lookalike_indexer.errors import IndexerError

log = logging.getLogger(__name__)

T = TypeVar("T")
_Stamp = tuple[int, int, int]


class Followed(Generic[T]):
    """The value that `read` makes of some files, read again when one of them has changed.

    Files that cannot be used any more, such as a certificate whose new key is
    not written yet, leave the value as it was; the log says so once for each
    change. Safe to use from several threads.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T]) -> None:
        """Errors are those of `read`."""
        self._paths = paths
        self._read = read
        self._lock = threading.Lock()
        # Before reading: what changes meanwhile is read again.
        self._stamps = self._look()
        self._value = read()

    def get(self) -> T:
        """The value of the files as they are now, or as they last could be used."""
        with self._lock:
            stamps = self._look()
            if stamps != self._stamps:
                self._stamps = stamps
                self._renew()
            return self._value

    def _renew(self) -> None:
        names = ", ".join(map(str, self._paths))
        try:
            self._value = self._read()
        except IndexerError as error:
            log.error("%s changed and cannot be used, what was read before stays: %s", names, error)
        else:
            log.info("%s changed and was read again", names)

    def _look(self) -> list[_Stamp | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
