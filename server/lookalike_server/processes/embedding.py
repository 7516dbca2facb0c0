"""Embedding of images and texts that callers send: one queue, one thread, one network for each space in use."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.embedding.query_text import Text, refusal
from lookalike_indexer.errors import DecodeError, DeviceError, IndexerError, MismatchError
from lookalike_indexer.images.image_box import Boxed
from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Answer, Observe, Rules
from lookalike_server.common.errors import ExpiredError, OverloadedError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.snapshot import Snapshot

log = logging.getLogger(__name__)

# Target seconds of a batch. A longer one would delay other callers.
_RUN_S = 0.5

# Longest wait for a network that is still loading at shutdown.
_CLOSE_TIMEOUT_S = 1.0

# A failed attempt to open a network takes seconds of a processor, and monitors poll every few seconds.
_REMEMBERED_S = 60.0

# Transient errors, or errors unrelated to the network; not remembered.
_PASSING = (DeviceError, ExpiredError, OverloadedError)


class Embedder(Protocol):
    """A network with its preprocessing, opened for one space."""

    fingerprint: str

    @property
    def alive(self) -> bool:
        """False if it has ended by itself, so that another must be opened."""
        ...

    @property
    def hung(self) -> bool:
        """True while it sends no heartbeat; it is killed if that lasts."""
        ...

    def embed(self, files: Sequence[bytes | Boxed | Text]) -> EmbeddingResult:
        """Return the embeddings of encoded images and texts, and the reasons for those that failed."""
        ...

    def close(self) -> None: ...


OpenEmbedder = Callable[[CollectionReader, str], Embedder]


@dataclass(frozen=True)
class _Problem:
    """Why the network of a generation, identified by Snapshot.made, could not be opened. `until` is monotonic."""

    made: str
    sentence: str
    until: float


@dataclass(frozen=True)
class _Work:
    reader: CollectionReader
    space: str
    fingerprint: str
    files: Sequence[bytes | Boxed | Text]
    # True if undecodable images are reported in the result, while the others are embedded.
    row_errors: bool = False
    # Position of the first file in its call.
    first: int = 0

    @property
    def key(self) -> Hashable:
        return self.fingerprint

    def part(self, start: int, stop: int) -> _Work:
        """Return the request with only the files `[start, stop)`."""
        return dataclasses.replace(self, files=self.files[start:stop], first=self.first + start)


class EmbedQueue:
    """Embeds images in batches across calls.

    A network is opened when its space is first requested. It stays open across generations while
    its fingerprint is in use.
    """

    def __init__(
        self, open_embedder: OpenEmbedder, limits: Limits, batch: int = 16, observe: Observe | None = None
    ) -> None:
        self._open = open_embedder
        self._embedders: dict[str, Embedder] = {}
        # Fingerprints; None means all.
        self._wanted: frozenset[str] | None = None
        rules: Rules[_Work] = Rules(
            key=lambda work: work.key,
            size=lambda work: len(work.files),
            max_batch=batch,
            max_queue=limits.max_batch * 2,
            weight=lambda work: sum(map(len, work.files)),
            max_weight=limits.max_queue_bytes,
            max_age=limits.max_slow_queue_ms / 1000,
            cut=_Work.part,
            cut_to=_RUN_S,
        )
        self._last: _Work | None = None
        self._problem: _Problem | None = None
        self._batcher: AwaitedBatcher[_Work, EmbeddingResult] = AwaitedBatcher(
            "embedding",
            {"network": self._run},
            rules,
            observe=observe,
            recover={"network": self._reopen},
            join=EmbeddingResult.joined,
        )

    async def embed(
        self,
        snapshot: Snapshot,
        space: str,
        files: Sequence[bytes | Boxed | Text],
        deadline: float | None,
        row_errors: bool = False,
    ) -> Answer[EmbeddingResult]:
        """Return the embeddings of images and texts in a space.

        Raises DecodeError if one cannot be embedded; with `row_errors`, the result names it
        instead. Raises WeightsError if the network's weights are missing, and OverloadedError and
        ExpiredError as AwaitedBatcher does.
        """
        fingerprint = snapshot.reader.manifest.spaces[space].fingerprint
        return await self._batcher.submit(_Work(snapshot.reader, space, fingerprint, files, row_errors), deadline)

    @property
    def waiting(self) -> int:
        """Number of queued images."""
        return self._batcher.waiting

    @property
    def ready(self) -> bool:
        """True if a network is open, and none has hung or ended by itself."""
        embedders = list(self._embedders.values())
        answering = all(embedder.alive and not embedder.hung for embedder in embedders)
        return bool(embedders) and not self._batcher.lost and answering

    @property
    def ended(self) -> bool:
        """True if a network has ended by itself and is not being reopened."""
        return not self._batcher.lost and any(not embedder.alive for embedder in list(self._embedders.values()))

    async def problem(self, snapshot: Snapshot) -> str:
        """Return why images cannot be embedded in the default space; "" if they can. Opens its network if needed.

        A failure is remembered for a minute, unless the generation changes.
        """
        if self._open_for(snapshot):
            self._problem = None
            return ""
        known = self._problem
        if known is not None and known.made == snapshot.made and time.monotonic() < known.until:
            return known.sentence
        sentence, lasts = await self._tried(snapshot)
        self._problem = _Problem(snapshot.made, sentence, time.monotonic() + _REMEMBERED_S) if lasts else None
        return sentence

    def _open_for(self, snapshot: Snapshot) -> bool:
        """Return whether the network of the default space is open, and none has ended or waits to be closed."""
        try:
            fingerprint = snapshot.space().entry.fingerprint
        except IndexerError:
            return False
        return fingerprint in self._embedders and not (self._unwanted() or self.ended or self._batcher.lost)

    async def _tried(self, snapshot: Snapshot) -> tuple[str, bool]:
        """Open the network of the default space. Return why that failed, and whether the failure is likely to last."""
        try:
            await self.embed(snapshot, snapshot.space().name, [], None)
        except IndexerError as error:
            return str(error), not isinstance(error, _PASSING)
        except Exception:
            # For example a library that cannot be loaded. The server continues, and the log has the reason.
            log.exception("the network cannot be opened")
            return (
                "The network cannot be opened: unexpected error; see the server's log.",
                True,
            )
        return "", False

    def retain_networks(self, snapshot: Snapshot) -> None:
        """Before the next batch, close the networks of spaces that this generation lacks."""
        self._wanted = frozenset(space.fingerprint for space in snapshot.reader.manifest.spaces.values())

    def close(self) -> None:
        """End the thread and close the networks. Blocks until the current batch ends: not for the event loop."""
        self._batcher.close()
        self._batcher.join(_CLOSE_TIMEOUT_S)
        for embedder in self._embedders.values():
            embedder.close()
        self._embedders.clear()

    def _run(self, batch: list[_Work]) -> list[EmbeddingResult | Exception]:
        embedder = self._embedder(batch[0])
        files = [file for work in batch for file in work.files]
        if not files:
            return [
                EmbeddingResult(np.empty((0, work.reader.manifest.spaces[work.space].dim), np.float32))
                for work in batch
            ]
        embedded = embedder.embed(files)
        ends = np.cumsum([len(work.files) for work in batch])
        # A caller's undecodable image must not fail other callers.
        return [_of(work, embedded.rows(end - len(work.files), end)) for work, end in zip(batch, ends, strict=True)]

    def _reopen(self) -> None:
        """Reopen a network that has ended, before it is needed. Raises as `embed` does."""
        work = self._last
        if work is not None and (self._wanted is None or work.fingerprint in self._wanted):
            self._embedder(work)

    def _embedder(self, work: _Work) -> Embedder:
        self._last = dataclasses.replace(work, files=[])
        self._close_unwanted(work.fingerprint)
        for fingerprint in [one for one, embedder in self._embedders.items() if not embedder.alive]:
            self._embedders.pop(fingerprint).close()
        embedder = self._embedders.get(work.fingerprint)
        if embedder is None:
            embedder = self._open(work.reader, work.space)
            if embedder.fingerprint != work.fingerprint:
                embedder.close()
                raise MismatchError(
                    f"The network opened for the space {work.space} has fingerprint {embedder.fingerprint} and the "
                    f"collection was embedded with {work.fingerprint}; give the same weights with --weights."
                )
            self._embedders[work.fingerprint] = embedder
            # So that it is reopened at once if it ends within the minute.
            self._problem = None
            log.info("opened the network of the space %s", work.space)
        return embedder

    def _unwanted(self) -> set[str]:
        """Return the fingerprints of open networks that no space of the newest generation uses."""
        return set() if self._wanted is None else self._embedders.keys() - self._wanted

    def _close_unwanted(self, needed: str) -> None:
        # A network that a call of the older generation needs now stays until the next batch.
        for fingerprint in self._unwanted() - {needed}:
            self._embedders.pop(fingerprint).close()


def _of(work: _Work, embedded: EmbeddingResult) -> EmbeddingResult | DecodeError:
    """Return the result of one request: its embeddings, or the error of an image unless it wants `row_errors`."""
    if work.row_errors or not embedded.failed:
        return embedded
    place, reason = next(iter(embedded.failed.items()))
    position = work.first + place
    return DecodeError(refusal(position, work.files[place], reason), position=position)
