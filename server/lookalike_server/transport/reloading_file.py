"""Values read from files that may change while the server runs, such as certificates and tokens."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from lookalike_indexer.errors import IndexerError, UsageError

log = logging.getLogger(__name__)

T = TypeVar("T")
_Stamp = tuple[int, int, int, int]

# Two changes within one tick of the file system's clock leave the same times. Linux's longest tick is 10 ms.
_TICK_S = 0.05


class ReloadingFile(Generic[T]):
    """Value that `read` makes from some files, reloaded when one of them changes.

    If the files become unusable, the value is `unusable`, and the files are retried at each `get`.
    Without `unusable`, the old value stays, for example until the new key of a certificate is
    written. Each change is logged once. Thread-safe.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T], unusable: T | None = None) -> None:
        """Raises what `read` raises, and UsageError if a path is a pipe or a device, which can be read only once."""
        self._paths = paths
        self._read = read
        self._unusable = unusable
        self._lock = threading.Lock()
        # Before reading, so that a change in the meantime causes another read.
        self._stamps = self._look()
        self._settled = _are_old(self._stamps)
        self._failed = False
        self._value = self._read_files()

    def get(self) -> T:
        """Return the value of the files as they are now, or its substitute."""
        with self._lock:
            stamps = self._look()
            if stamps != self._stamps or not self._settled:
                changed, self._stamps = stamps != self._stamps, stamps
                self._settled = _are_old(stamps)
                self._renew(changed)
            return self._value

    def _renew(self, changed: bool) -> None:
        names = ", ".join(map(str, self._paths))
        try:
            value = self._read_files()
        except IndexerError as error:
            self._fail(names, error, told=self._failed and not changed)
            return
        if changed or self._failed or value != self._value:
            log.info("%s changed and was reloaded", names)
        self._value, self._failed = value, False

    def _read_files(self) -> T:
        for path in self._paths:
            # Opening a pipe would block until a writer comes, and all calls with it.
            if path.exists() and not path.is_file():
                raise UsageError(
                    f"{path} is not a regular file; name a regular file, because the server rereads it when it changes."
                )
        return self._read()

    def _fail(self, names: str, error: IndexerError, told: bool) -> None:
        self._failed = True
        if self._unusable is None:
            if not told:
                log.error("%s changed and cannot be used; the previous contents stay in use: %s", names, error)
            return
        if not told:
            log.error("%s cannot be used, and the previous contents are no longer valid: %s", names, error)
        self._value = self._unusable
        # The cause, such as too many open files, may pass without a change of the file.
        self._settled = False

    def _look(self) -> list[_Stamp | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # The change time of the inode too: a copy may keep the modification time and the size.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _are_old(stamps: Sequence[_Stamp | None]) -> bool:
    """Return whether a further change of the files would change their times."""
    newest = max((stamp[1] for stamp in stamps if stamp is not None), default=0)
    return abs(time.time() - newest / 1e9) > _TICK_S
