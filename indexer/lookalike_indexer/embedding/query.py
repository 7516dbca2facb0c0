"""Embedding of query images in the same way as the collection's images, and of query texts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np
import torch

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.embedding_result import Classes, EmbeddingResult
from lookalike_indexer.embedding.query_text import Text, refusal
from lookalike_indexer.embedding.stored_network import stored_module
from lookalike_indexer.errors import DecodeError, MismatchError, WeightsError
from lookalike_indexer.images.image_box import Boxed
from lookalike_indexer.images.prepare import Prepared
from lookalike_indexer.images.workers import DecodePool, PoolSettings
from lookalike_indexer.models.compute import resolve_compute
from lookalike_indexer.models.network import TOP, Network, Node
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.models.open_clip_models import PictureTower
from lookalike_indexer.models.text_encoder import TextEncoder

_TIMEOUT_S = 10.0
_BATCH = 32


class QueryEmbedder:
    """A space's network, and workers that decode untrusted images. Thread-safe."""

    def __init__(
        self,
        network: Network,
        workers: DecodePool,
        fingerprint: str,
        threads: int | None,
        texts: TextEncoder | str = "the model knows no texts",
        top: int = 0,
    ) -> None:
        """Create the embedder. `texts` encodes texts, or is the reason why they cannot be encoded.

        `top` is the number of classes to return for each image; 0 for a network without a classifier.
        """
        self._network, self._workers, self._threads, self._texts = network, workers, threads, texts
        self._top = top
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
        """Load the network of a space, "" for the default one.

        `weights_file` is the location of the weights on this machine; `threads` is the number of CPU threads of the
        network; `limits` defaults to those of the collection. Raise WeightsError if the weights are not available.
        Raise MismatchError if they differ from those that the collection was made with.
        """
        name, entry = reader.space(space)
        model = reader.manifest.models[entry.model]
        module = stored_module(reader, entry.model, weights_file)
        fingerprint = reader.manifest.space_spec(name).fingerprint
        if fingerprint != entry.fingerprint:
            raise MismatchError(
                f"The space {name} has the fingerprint {entry.fingerprint[:16]}, its description {fingerprint[:16]}; "
                "its manifest was edited; create the collection again."
            )
        network = Network(
            trace(module),
            [Node(entry.layer, entry.pooling)],
            model.spec.preprocessing,
            device,
            # Use float32 if the collection was embedded in float32, else the half precision that this device supports.
            resolve_compute("float32" if model.compute.endswith("float32") else "auto", device),
        )
        # Optimize for latency: one image per task, and normal process priority.
        pool = PoolSettings(
            max(1, (threads or 2) // 2), _TIMEOUT_S, limits or reader.manifest.limits, chunk=1, niceness=0
        )
        workers = DecodePool(pool, model.spec.preprocessing)
        takes_text = reader.manifest.space_spec(name).takes_text
        texts = _text_encoder(module, model.spec.arch, device) if takes_text else "the model knows no texts"
        top = min(TOP, model.spec.classes) if model.spec.classifies else 0
        return cls(network, workers, fingerprint, threads, texts, top)

    def __enter__(self) -> QueryEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def embed(self, files: Sequence[bytes | Boxed | Text]) -> Float32:
        """Embed encoded images, regions of images, or texts: float32 of shape (n, dim), in their order.

        DecodeError names the first item that cannot be embedded by its position, from 0.
        """
        embedded = self.timed(files)
        for position, reason in embedded.failed.items():
            raise DecodeError(refusal(position, files[position], reason), position=position)
        return embedded.vectors

    def timed(self, files: Sequence[bytes | Boxed | Text]) -> EmbeddingResult:
        """Return the embeddings with timings; items that cannot be embedded are reported without failing the others."""
        started = time.perf_counter()
        pictures = {at: file for at, file in enumerate(files) if not isinstance(file, Text)}
        texts = {at: file.value for at, file in enumerate(files) if isinstance(file, Text)}
        decoded, failed = [], {}
        for position, image in zip(pictures, self._workers.prepare(list(pictures.values())), strict=True):
            if isinstance(image, Prepared):
                decoded.append((position, image.pixels))
            else:
                failed[position] = str(image.reason)
        taken = time.perf_counter()
        vectors = np.zeros((len(files), self._network.dims[0]), np.float32)
        classes = Classes(np.zeros((len(files), self._top), np.int32), np.zeros((len(files), self._top), np.float32))
        with self._one_at_a_time:
            if self._threads:
                # OpenMP keeps this setting for each thread, and calls come from several.
                torch.set_num_threads(self._threads)
            for start in range(0, len(decoded), _BATCH):
                some = decoded[start : start + _BATCH]
                found = self._network.embed([pixels for _, pixels in some])
                places = [position for position, _ in some]
                vectors[places] = found.embeddings[0]
                if self._top:
                    classes.indexes[places], classes.probabilities[places] = found.classes, found.probabilities
            self._encode(texts, vectors, failed)
        took = time.perf_counter() - taken
        return EmbeddingResult(vectors, taken - started, took, failed, classes if self._top else None)

    def _encode(self, texts: Mapping[int, str], vectors: Float32, failed: dict[int, str]) -> None:
        """Write the vectors of texts into their rows by position; record the reasons of rejected texts in `failed`."""
        if not texts:
            return
        if isinstance(self._texts, str):
            failed.update(dict.fromkeys(texts, self._texts))
            return
        places = list(texts)
        found, refused = self._texts.encode(list(texts.values()))
        failed.update((places[at], reason) for at, reason in refused.items())
        kept = [at for at in range(len(places)) if at not in refused]
        if kept:
            vectors[[places[at] for at in kept]] = found[kept]

    def close(self) -> None:
        """Stop the workers."""
        self._workers.close()


def _text_encoder(module: torch.nn.Module, arch: str, device: str) -> TextEncoder | str:
    """Return the text encoder of a space, or the reason why there is none: images can be embedded in any case."""
    if not isinstance(module, PictureTower):
        return "the model knows no texts"
    try:
        return TextEncoder(module, arch, device)
    except WeightsError as error:
        return str(error).removesuffix(".")
