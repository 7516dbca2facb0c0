"""Embedding the pictures and texts that callers send: one queue, one thread, one network for each space in use."""

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
from lookalike_indexer.images.picture_box import Boxed
from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Answer, Observe, Rules
from lookalike_server.common.errors import ExpiredError, OverloadedError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.snapshot import Snapshot

log = logging.getLogger(__name__)

# Pictures are embedded in batches that take about so long where they can be: others wait for each.
_RUN_S = 0.5

# A network that is still loading when the server ends is not waited for longer.
_CLOSE_TIMEOUT_S = 1.0

# Trying to open a network takes seconds of a processor, and whoever watches a server asks what it can do every few.
_REMEMBERED_S = 60.0

# These pass by themselves, or say nothing of the network.
_PASSING = (DeviceError, ExpiredError, OverloadedError)


class Embedder(Protocol):
    """A network with its preprocessing, made for one space."""

    fingerprint: str

    @property
    def alive(self) -> bool:
        """False when it has ended by itself, so that another has to be opened."""
        ...

    @property
    def hung(self) -> bool:
        """True while it gives no sign of life; it ends soon if that lasts."""
        ...

    def embed(self, files: Sequence[bytes | Boxed | Text]) -> EmbeddingResult:
        """The embeddings of encoded pictures and texts, with the reasons of those that have none."""
        ...

    def close(self) -> None: ...


OpenEmbedder = Callable[[CollectionReader, str], Embedder]


@dataclass(frozen=True)
class _Problem:
    """Why the network of a generation, told by Snapshot.made, could not be opened; `until` is monotonic."""

    made: str
    sentence: str
    until: float


@dataclass(frozen=True)
class _Work:
    reader: CollectionReader
    space: str
    fingerprint: str
    files: Sequence[bytes | Boxed | Text]
    # Whether pictures that cannot be decoded are told, and the others embedded.
    row_errors: bool = False
    # The position of the first file in its call.
    first: int = 0

    @property
    def key(self) -> Hashable:
        return self.fingerprint

    def part(self, start: int, stop: int) -> _Work:
        """Some of the pictures."""
        return dataclasses.replace(self, files=self.files[start:stop], first=self.first + start)


class EmbedQueue:
    """Embeds pictures in the batches that callers happen to form.

    A network is opened when its space is first asked for, and kept over
    generations for as long as its fingerprint is in use.
    """

    def __init__(
        self, open_embedder: OpenEmbedder, limits: Limits, batch: int = 16, observe: Observe | None = None
    ) -> None:
        self._open = open_embedder
        self._embedders: dict[str, Embedder] = {}
        # Fingerprints; None as long as all are.
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
        """The embeddings of pictures and texts in a space.

        DecodeError: one cannot be embedded; with `row_errors` the result tells which.
        WeightsError: the network's weights are not here. OverloadedError,
        ExpiredError: see AwaitedBatcher.
        """
        fingerprint = snapshot.reader.manifest.spaces[space].fingerprint
        return await self._batcher.submit(_Work(snapshot.reader, space, fingerprint, files, row_errors), deadline)

    @property
    def waiting(self) -> int:
        """The pictures that wait."""
        return self._batcher.waiting

    @property
    def ready(self) -> bool:
        """Whether a network is open, and none has hung or ended by itself."""
        embedders = list(self._embedders.values())
        answering = all(embedder.alive and not embedder.hung for embedder in embedders)
        return bool(embedders) and not self._batcher.lost and answering

    @property
    def ended(self) -> bool:
        """Whether a network has ended by itself and nobody is opening another."""
        return not self._batcher.lost and any(not embedder.alive for embedder in list(self._embedders.values()))

    async def problem(self, snapshot: Snapshot) -> str:
        """Why pictures cannot be embedded in the default space; "" when they can. Opens its network if need be.

        What failed is not tried again for a minute, unless for another generation.
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
        """Whether the network of the default space is open, and none has ended or waits to be closed."""
        try:
            fingerprint = snapshot.space().entry.fingerprint
        except IndexerError:
            return False
        return fingerprint in self._embedders and not (self._unwanted() or self.ended or self._batcher.lost)

    async def _tried(self, snapshot: Snapshot) -> tuple[str, bool]:
        """Open the network of the default space: why it cannot be, and whether that is likely to last."""
        try:
            await self.embed(snapshot, snapshot.space().name, [], None)
        except IndexerError as error:
            return str(error), not isinstance(error, _PASSING)
        except Exception:
            # Such as a library that cannot be loaded: the rest of the server goes on, and the reason is in the log.
            log.exception("the network cannot be opened")
            return (
                "The network cannot be opened, for a reason that the server did not expect; its log tells more.",
                True,
            )
        return "", False

    def keep(self, snapshot: Snapshot) -> None:
        """Close, before the next batch, the networks of spaces that this generation does not have."""
        self._wanted = frozenset(space.fingerprint for space in snapshot.reader.manifest.spaces.values())

    def close(self) -> None:
        """End the thread and close the networks. Waits for the batch that is being embedded: not for the event loop."""
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
        # One caller's broken picture is no other caller's affair.
        return [_of(work, embedded.rows(end - len(work.files), end)) for work, end in zip(batch, ends, strict=True)]

    def _reopen(self) -> None:
        """Open the network that has ended anew, before somebody asks for it. Errors as `embed`."""
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
            # So that it is opened at once if it ends within the minute.
            self._problem = None
            log.info("opened the network of the space %s", work.space)
        return embedder

    def _unwanted(self) -> set[str]:
        """The fingerprints of networks that are open and that no space of the newest generation has."""
        return set() if self._wanted is None else self._embedders.keys() - self._wanted

    def _close_unwanted(self, needed: str) -> None:
        # One that a call of the older generation still needs stays until the next batch.
        for fingerprint in self._unwanted() - {needed}:
            self._embedders.pop(fingerprint).close()


def _of(work: _Work, embedded: EmbeddingResult) -> EmbeddingResult | DecodeError:
    """What a work gets: its embeddings, or the error of a picture where it does not want the others without it."""
    if work.row_errors or not embedded.failed:
        return embedded
    place, reason = next(iter(embedded.failed.items()))
    position = work.first + place
    return DecodeError(refusal(position, work.files[place], reason), position=position)
