"""Embed new pictures as the collection's own were embedded, and texts beside them."""

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
from lookalike_indexer.images.picture_box import Boxed
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
    """A space's network, and workers that decode untrusted pictures. Calls may come from several threads."""

    def __init__(
        self,
        network: Network,
        workers: DecodePool,
        fingerprint: str,
        threads: int | None,
        texts: TextEncoder | str = "the model knows no texts",
        top: int = 0,
    ) -> None:
        """`texts` encodes texts, or is the reason why they cannot be.

        `top` is how many of a picture's classes are told; 0 for a network without a classifier.
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
        """Embed encoded pictures, parts of them, or texts: float32 of shape (n, dim), in their order.

        DecodeError names the first that cannot be embedded by its position, from 0.
        """
        embedded = self.timed(files)
        for position, reason in embedded.failed.items():
            raise DecodeError(refusal(position, files[position], reason), position=position)
        return embedded.vectors

    def timed(self, files: Sequence[bytes | Boxed | Text]) -> EmbeddingResult:
        """The embeddings with the time that they took; what cannot be embedded is told, and fails no other."""
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
                # OpenMP keeps this for each thread, and calls come from several.
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
        """Put the vectors of texts, by their positions, into their rows, and why some have none into `failed`."""
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
        """End the workers."""
        self._workers.close()


def _text_encoder(module: torch.nn.Module, arch: str, device: str) -> TextEncoder | str:
    """What encodes the texts of a space, or the reason why none can be: pictures are embedded in any case."""
    if not isinstance(module, PictureTower):
        return "the model knows no texts"
    try:
        return TextEncoder(module, arch, device)
    except WeightsError as error:
        return str(error).removesuffix(".")
