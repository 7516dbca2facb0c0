"""Client of a collection's folder: starts a private server process.

The server is that of `lookalike serve`, so every reply is the same. It listens on
loopback and requires a token that only this process knows. It reads EOF on its
standard input, a pipe from this process, when this process ends, and then exits.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import secrets
import subprocess  # nosec B404
import sys
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias

from lookalike._errors import ClosedError, FailedPreconditionError, NotFoundError
from lookalike._sync import Client, client_of

PlacementMode: TypeAlias = Literal["cpu", "gpu", "shard", "replicate"]

_HOST = "127.0.0.1"
_SERVING = re.compile(rf"^SERVING .* on ({re.escape(_HOST)}:\d+):", re.MULTILINE)
_PATIENCE_S = 5.0
_INSTALL = "pip install 'lookalike[server]'"


class LocalClient(Client):
    """Client of a collection's folder, as returned by `lookalike.open`; has all methods of Client.

    `close`, the end of a `with` block, and the end of this process stop its server.
    """

    def __init__(self, collection: str | os.PathLike[str], options: list[str], timeout: float | None) -> None:
        self._folder = os.fspath(collection)
        token = secrets.token_urlsafe(32)
        process, address = _start(self._folder, options, token)
        self._end = weakref.finalize(self, _stop, process, os.getpid())
        try:
            # A server that has exited does not come back, so there is nothing to wait for.
            super().__init__(address, token=token, timeout=timeout, wait_for_server=False)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Close the connection and stop the server. Calls in progress are canceled."""
        super().close()
        self._end()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a client of the same server that does not stop it."""
        return client_of, (self.__getstate__(),)

    def __enter__(self) -> Self:
        if not self._end.alive:
            raise ClosedError(f"The client of {self._folder} is closed; open it again.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lookalike.LocalClient of {self._folder}{'' if self._end.alive else ', closed'}>"


def open(  # noqa: A001
    collection: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    placement: PlacementMode = "cpu",
    timeout: float | None = None,
) -> LocalClient:
    """Open the collection in a folder, without a running server.

    Starts a private server process, which the client's `close` or the end of this process stops.

    - `collection`: path of the collection's folder.
    - `weights`: path of the network's weights file, if it has moved since the collection was indexed.
    - `placement`: where indexes live, "cpu", "gpu", "shard" or "replicate", as in `lookalike serve --placement`.
    - `timeout`: seconds for each call; None waits without a limit, since experiments can take long.

    Raises NotFoundError if there is no such folder, and FailedPreconditionError if the folder is no collection, or the
    server cannot open it or is not installed.

    >>> with lookalike.open("collection") as collection:  # doctest: +SKIP
    ...     near = collection.search(key="dogs/01.jpg", k=3)
    """
    folder = Path(collection)
    if not folder.is_dir():
        raise NotFoundError(
            f"There is no folder {os.fspath(collection)!r}; make a collection with: "
            f"lookalike index SOURCE --collection {os.fspath(collection)}"
        )
    if importlib.util.find_spec("lookalike_server") is None:
        raise FailedPreconditionError(f"Opening a folder needs the server, which is not installed here: {_INSTALL}")
    options = ["--placement", placement]
    if weights is not None:
        options += ["--weights", os.fspath(weights)]
    return LocalClient(collection, options, timeout)


def _start(folder: str, options: list[str], token: str) -> tuple[subprocess.Popen[str], str]:
    """Start the server process; return it and its address."""
    with tempfile.TemporaryFile("w+") as tokens, tempfile.TemporaryFile("w+") as log:
        # The server knows only the digest. The file has no name, so no other process can open it.
        tokens.write(f"local admin {hashlib.sha256(token.encode()).hexdigest()}\n")
        tokens.flush()
        command = [sys.executable, "-m", "lookalike", "serve", "--host", _HOST, "--port", "0", "--while-stdin"]
        command += ["--tokens", f"/dev/fd/{tokens.fileno()}", *options, "--", folder]
        process = subprocess.Popen(  # nosec B603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_surroundings(),
            pass_fds=[tokens.fileno()],
            # Ctrl-C in a notebook's cell goes to the process group, and must not stop the server.
            start_new_session=True,
        )
        try:
            # The line comes when the server is ready, which takes a while for a large collection; EOF if it failed.
            found = _SERVING.search(process.stdout.readline() if process.stdout else "")
            if found is None:
                process.wait(_PATIENCE_S)
                raise FailedPreconditionError(f"The collection {folder!r} cannot be opened: {_said(log)}")
        except BaseException:
            _stop(process, os.getpid())
            raise
        return process, found.group(1)


def _surroundings() -> dict[str, str]:
    """Return the environment without the settings of other servers, but with the limits."""
    others, limits = ("LOOKALIKE_SERVE_", "LOOKALIKE_TOKEN"), "LOOKALIKE_SERVE_MAX_"
    return {name: value for name, value in os.environ.items() if not name.startswith(others) or name.startswith(limits)}


def _said(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    told = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return (told or lines or ["the server exited without an error message"])[-1]


def _stop(process: subprocess.Popen[str], owner: int) -> None:
    # A fork of this process has copies of the pipes, but the server is not its own.
    if os.getpid() != owner:
        return
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        # It is still being loaded, or a fork of this process holds its standard input open.
        process.kill()
        process.wait()
