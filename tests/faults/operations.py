"""Interception of all calls that change or read a collection's files, counted so that any one can fail."""

from __future__ import annotations

import io
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# pathlib and the storage call these functions by these names.
_CALLS = ("replace", "link", "mkdir", "unlink", "rmdir", "scandir")
CHANGES = {"create", "write", "fsync", "replace", "link", "mkdir", "unlink", "rmdir"}


@dataclass(frozen=True)
class Fault:
    """A fault at operation `at`: the process is killed before or after it, or it fails with `errno`.

    With `lasting`, all later changes fail in the same way, as on a full disk.
    """

    at: int
    errno: int | None = None
    after: bool = False
    lasting: bool = False


class Operations:
    """Counts the operations below a folder and injects a fault at one of them."""

    def __init__(self, root: Path, fault: Fault | None, seed: int) -> None:
        self.seen: list[str] = []
        self._root = str(root)
        self._fault = fault
        self._random = random.Random(seed)
        self._system: dict[str, Callable[..., Any]] = {}

    def install(self) -> None:
        """Replace the system's calls for the rest of this process."""
        import pyarrow.parquet as pq

        for name in _CALLS:
            self._patch(os, name, self._named)
        self._patch(os, "fsync", self._fsync)
        self._patch(io, "open", self._open)
        self._patch(pq, "write_table", self._write_table)
        self._patch(pq, "ParquetFile", self._parquet_file)

    def _patch(self, module: Any, name: str, stand_in: Callable[..., Any]) -> None:
        original = self._system[name] = getattr(module, name)
        setattr(module, name, lambda *args, **kwargs: stand_in(name, original, *args, **kwargs))

    def _named(self, name: str, call: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        return self._run(name, path, lambda: call(path, *args, **kwargs))

    def _fsync(self, name: str, call: Callable[..., Any], descriptor: int) -> Any:
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115  # Path would go through what is patched here
        return self._run(name, path, lambda: call(descriptor))

    def _open(self, name: str, call: Callable[..., Any], path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        writes = set(mode) & set("wax+")
        file = self._run("create" if writes else "read", path, lambda: call(path, mode, *args, **kwargs))
        return (
            _Writer(file, lambda write, data: self._write(path, write, data)) if writes and self._ours(path) else file
        )

    def _write(self, path: Any, write: Callable[[Any], Any], data: Any) -> Any:
        def half() -> None:
            write(data[: self._random.randrange(len(data) + 1)])

        return self._run("write", path, lambda: write(data), half)

    def _write_table(self, name: str, call: Callable[..., Any], table: Any, path: Any, **options: Any) -> Any:
        def half() -> None:
            call(table, path, **options)
            os.truncate(path, self._random.randrange(Path(path).stat().st_size))

        return self._run("write", path, lambda: call(table, path, **options), half)

    def _parquet_file(self, name: str, call: Callable[..., Any], path: Any, **options: Any) -> Any:
        return self._run("read", path, lambda: call(path, **options))

    def _ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._root)

    def _run(self, kind: str, path: Any, call: Callable[[], Any], half: Callable[[], None] | None = None) -> Any:
        if not self._ours(path):
            return call()
        number, fault = len(self.seen), self._fault
        self.seen.append(kind)
        if fault is None or number < fault.at:
            return call()
        if fault.errno is None:
            if fault.after:
                call()
            elif half:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        if number > fault.at and not (fault.lasting and kind in CHANGES):
            return call()
        if half:
            half()
        raise OSError(fault.errno, os.strerror(fault.errno or 0), os.fspath(path))


class _Writer:
    """A file whose writes count as operations."""

    def __init__(self, file: Any, write: Callable[[Callable[[Any], Any], Any], Any]) -> None:
        self._file, self._write = file, write

    def write(self, data: Any) -> Any:
        return self._write(self._file.write, data)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
