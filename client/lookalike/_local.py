"""A collection's folder behind the client's own methods: a private server in a process of its own.

The server is the one that `lookalike serve` runs, so that every answer is the
same. It listens on loopback, asks for a token that only this process knows, and
ends with this process however that ends: it watches its standard input, a pipe
whose other end is here.
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
    """The client of a collection's folder, as `lookalike.open` gives it: with the methods of Client.

    `close`, the end of a `with` block, or the end of this process end the server behind it.
    """

    def __init__(self, collection: str | os.PathLike[str], options: list[str], timeout: float | None) -> None:
        self._folder = os.fspath(collection)
        token = secrets.token_urlsafe(32)
        process, address = _start(self._folder, options, token)
        self._end = weakref.finalize(self, _stop, process, os.getpid())
        try:
            # A server that has ended does not come back.
            super().__init__(address, token=token, timeout=timeout, wait_for_server=False)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End the connection and the server. Calls that are under way are cancelled."""
        super().close()
        self._end()

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled copy asks the same server, and does not end it."""
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
    """Open the collection in a folder, without a server of one's own.

    >>> with lookalike.open("pictures") as pictures:  # doctest: +SKIP
    ...     near = pictures.search(key="dogs/01.jpg", k=3)

    `weights` is the file with the weights of the network, where that is no longer
    where it was; `placement` is where indexes live, as `lookalike serve` has it.
    `timeout` is that of each call in seconds; None waits without an end, since
    experiments may take long.

    NotFoundError: no such folder. FailedPreconditionError: it is no collection, or
    cannot be opened here, such as where the server is not installed.
    """
    folder = Path(collection)
    if not folder.is_dir():
        raise NotFoundError(
            f"There is no folder {os.fspath(collection)!r}; make a collection with: "
            f"lookalike index PICTURES --collection {os.fspath(collection)}"
        )
    if importlib.util.find_spec("lookalike_server") is None:
        raise FailedPreconditionError(f"Opening a folder needs the server, which is not installed here: {_INSTALL}")
    options = ["--placement", placement]
    if weights is not None:
        options += ["--weights", os.fspath(weights)]
    return LocalClient(collection, options, timeout)


def _start(folder: str, options: list[str], token: str) -> tuple[subprocess.Popen[str], str]:
    """The server's process and its address."""
    with tempfile.TemporaryFile("w+") as tokens, tempfile.TemporaryFile("w+") as log:
        # The server knows the digest alone. The file has no name that others could open.
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
            # Whoever interrupts a notebook's cell interrupts the processes of its group.
            start_new_session=True,
        )
        try:
            # Until it serves, or ends: checking a large collection takes a while.
            found = _SERVING.search(process.stdout.readline() if process.stdout else "")
            if found is None:
                process.wait(_PATIENCE_S)
                raise FailedPreconditionError(f"The collection {folder!r} cannot be opened: {_said(log)}")
        except BaseException:
            _stop(process, os.getpid())
            raise
        return process, found.group(1)


def _surroundings() -> dict[str, str]:
    """The environment without what configures a server that others ask, but with its limits."""
    others, limits = ("LOOKALIKE_SERVE_", "LOOKALIKE_TOKEN"), "LOOKALIKE_SERVE_MAX_"
    return {name: value for name, value in os.environ.items() if not name.startswith(others) or name.startswith(limits)}


def _said(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    told = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return (told or lines or ["the server ended without a word"])[-1]


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
