"""Embed new pictures as the collection's own were embedded."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
import torch

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.embedding.stored_network import stored_module
from lookalike_indexer.errors import DecodeError, MismatchError
from lookalike_indexer.images.picture_box import Boxed
from lookalike_indexer.images.prepare import Prepared
from lookalike_indexer.images.workers import DecodePool, PoolSettings
from lookalike_indexer.models.compute import resolve_compute
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace

_TIMEOUT_S = 10.0
_BATCH = 32


class QueryEmbedder:
    """A space's network, and workers that decode untrusted pictures. Calls may come from several threads."""

    def __init__(self, network: Network, workers: DecodePool, fingerprint: str, threads: int | None) -> None:
        self._network, self._workers, self._threads = network, workers, threads
        self._one_at_a_time = threading.Lock()
        self.fingerprint = fingerprint

    @classmethod
    def open(
        cls,
        reader: CollectionReader,
        space: str = "",
        *,
        device: str = "cpu",
        weights_file: str | None = None,
        threads: int | None = None,
        limits: ImageLimits | None = None,
    ) -> QueryEmbedder:
        """Load the network of a space, the default one for "".

        `weights_file` says where the weights lie on this machine; `threads`
        how many the network may use on the CPU; `limits` None means those of
        the collection. WeightsError: the weights are
        not to be had. MismatchError: they are not those that the collection
        was made with.
        """
        name, entry = reader.space(space)
        model = reader.manifest.models[entry.model]
        module = stored_module(reader, entry.model, weights_file)
        fingerprint = reader.manifest.space_spec(name).fingerprint
        if fingerprint != entry.fingerprint:
            raise MismatchError(
                f"The space {name} has the fingerprint {entry.fingerprint[:16]}, its description {fingerprint[:16]}; "
                "its manifest was changed by hand, make the collection again."
            )
        network = Network(
            trace(module),
            [Node(entry.layer, entry.pooling)],
            model.spec.preprocessing,
            device,
            # What was embedded in float32 is asked in float32; half precision as this device has it.
            resolve_compute("float32" if model.compute.endswith("float32") else "auto", device),
        )
        # Somebody waits for the answer: one picture a task, and no stepping back behind others.
        pool = PoolSettings(
            max(1, (threads or 2) // 2), _TIMEOUT_S, limits or reader.manifest.limits, chunk=1, niceness=0
        )
        workers = DecodePool(pool, model.spec.preprocessing)
        return cls(network, workers, fingerprint, threads)

    def __enter__(self) -> QueryEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def embed(self, files: Sequence[bytes | Boxed]) -> Float32:
        """Embed encoded pictures, or parts of them: float32 of shape (n, dim), in their order.

        DecodeError names the first that cannot be decoded by its position, from 0.
        """
        embedded = self.timed(files)
        for position, reason in embedded.failed.items():
            raise DecodeError(f"Picture {position} cannot be decoded: {reason}.", position=position)
        return embedded.vectors

    def timed(self, files: Sequence[bytes | Boxed]) -> EmbeddingResult:
        """The embeddings with the time that they took; pictures that cannot be decoded are told, and fail no other."""
        started = time.perf_counter()
        decoded, failed = [], {}
        for position, image in enumerate(self._workers.prepare(list(files))):
            if isinstance(image, Prepared):
                decoded.append((position, image.pixels))
            else:
                failed[position] = str(image.reason)
        taken = time.perf_counter()
        vectors = np.zeros((len(files), self._network.dims[0]), np.float32)
        with self._one_at_a_time:
            if self._threads:
                # OpenMP keeps this for each thread, and calls come from several.
                torch.set_num_threads(self._threads)
            for start in range(0, len(decoded), _BATCH):
                some = decoded[start : start + _BATCH]
                vectors[[position for position, _ in some]] = self._network.embed(
                    [pixels for _, pixels in some]
                ).embeddings[0]
        return EmbeddingResult(vectors, taken - started, time.perf_counter() - taken, failed)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()
