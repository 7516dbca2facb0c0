"""A network in a process of its own.

torch holds the interpreter's lock for seconds while it is imported and a
network is traced, and again between a network's layers. In the server's own
process every search would wait for that.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DeviceError, IndexerError
from lookalike_indexer.images.decode import ImageLimits
from lookalike_indexer.images.lifeline import end_with_parent

log = logging.getLogger(__name__)

Float32 = npt.NDArray[np.float32]

_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Opening:
    """What the process needs to know to open the network of one space; see QueryEmbedder.open."""

    root: str
    generation: int
    space: str
    device: str
    weights: str | None
    threads: int
    limits: ImageLimits


class ProcessEmbedder:
    """An Embedder whose network lives in another process; to be used by one thread."""

    def __init__(self, opening: Opening) -> None:
        """Start the process and wait for its network. Errors are those of QueryEmbedder.open."""
        self._opening = opening
        self._process: SpawnProcess | None = None
        self.fingerprint = self._start()

    def embed(self, files: list[bytes]) -> Float32:
        """The embeddings of encoded pictures, (n, dim).

        DecodeError names the one that cannot be read. DeviceError: the process
        ended; the next call starts another.
        """
        if self._process is None:
            self._start()
        vectors: Float32 = self._ask(files)
        return vectors

    def close(self) -> None:
        """End the process; what it was doing is lost."""
        if self._process is None:
            return
        # Its loop ends when the connection does.
        self._connection.close()
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = None

    def _start(self) -> str:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # No daemon: those may have no children, and it has workers that decode. Its lifeline ends it with us.
        self._process = context.Process(target=_run, args=(theirs, self._opening), name="embedding")
        self._process.start()
        theirs.close()
        fingerprint: str = self._receive()
        return fingerprint

    def _ask(self, files: list[bytes]) -> Any:
        # A process that has ended is noticed when its answer is read.
        with contextlib.suppress(OSError):
            self._connection.send(files)
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise DeviceError("The process that embeds pictures ended; another is started, ask again.") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def _run(connection: Connection, opening: Opening) -> None:
    """The process: open the network, then answer until the connection ends. Errors are answers, too."""
    end_with_parent()
    # Ctrl-C reaches every process of a terminal; the server decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        embedder = _open(opening)
    except Exception as error:
        connection.send(_sendable(error))
        return
    with embedder:
        connection.send(embedder.fingerprint)
        while True:
            try:
                files = connection.recv()
            except EOFError:
                return
            try:
                answer: object = embedder.embed(files)
            except Exception as error:
                answer = _sendable(error)
            connection.send(answer)


def _open(opening: Opening) -> Any:
    from lookalike_indexer.embedding.query import QueryEmbedder

    return QueryEmbedder.open(
        CollectionReader.open(opening.root, opening.generation),
        opening.space,
        device=opening.device,
        weights_file=opening.weights,
        threads=opening.threads,
        limits=opening.limits,
    )


def _sendable(error: Exception) -> Exception:
    """Our own errors as they are; of others, which may hold anything, the words."""
    return error if isinstance(error, IndexerError) else RuntimeError(f"{type(error).__name__}: {error}")
