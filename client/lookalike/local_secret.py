"""Shared secret of a server without tokens and the commands of the user who runs it.

A server without tokens cannot tell its own user from other callers, for example
through a proxy on the same machine. So it writes a secret to a file that only this
user can read, and calls with the secret have the role admin. The file is
`lookalike/serve-PORT.token` in the user's runtime directory (XDG_RUNTIME_DIR), or in
`lookalike-UID` of the temporary directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 1024


def write(port: int, secret: str) -> Path:
    """Write the secret of the server on a port; return the file. OSError: no private folder can be used."""
    failed: OSError | None = None
    for folder in _secret_folders():
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            _require_private(folder.lstat(), folder)
            return _written(folder / _name(port), secret)
        except OSError as error:
            failed = error
    raise failed or OSError("this system has no users to tell apart")


def remove(path: Path, secret: str) -> None:
    """Remove the file of `write`, unless another server has replaced it."""
    with contextlib.suppress(OSError):
        if _read(path) == secret:
            path.unlink()


def find(port: int) -> str | None:
    """Return the newest secret that a server of this user has written for a port; None if there is none."""
    found: list[tuple[int, str]] = []
    for folder in _secret_folders():
        path = folder / _name(port)
        with contextlib.suppress(OSError):
            found.append((path.lstat().st_mtime_ns, _read(path)))
    return max(found)[1] if found else None


def file_of(port: int) -> Path | None:
    """Return the file of the newest secret for a port; None if there is none."""
    found: list[tuple[int, Path]] = []
    for folder in _secret_folders():
        path = folder / _name(port)
        with contextlib.suppress(OSError):
            _read(path)
            found.append((path.lstat().st_mtime_ns, path))
    return max(found)[1] if found else None


def _name(port: int) -> str:
    return f"serve-{port}.token"


def _secret_folders() -> Iterator[Path]:
    """Yield the folders to search; a server and a command may have different environments."""
    if sys.platform == "win32":
        return
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # The XDG specification says to ignore relative paths, which depend on the working directory.
    if runtime.is_absolute():
        yield runtime / "lookalike"
    yield Path(tempfile.gettempdir()) / f"lookalike-{os.geteuid()}"


def _written(path: Path, secret: str) -> Path:
    # mkstemp creates files of mode 0600.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink()
        raise
    return path


def _read(path: Path) -> str:
    """Read the secret; OSError unless the file is a regular file that is private to this user."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a file")
        _require_private(status, path)
        return file.read(_LONGEST).decode("ascii", "replace").strip()


def _require_private(status: os.stat_result, path: Path) -> None:
    """Reject a file that others may have created or may read: every user can write to the temporary directory."""
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{path} is not private to this user")
