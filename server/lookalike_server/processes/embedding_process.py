"""A network in its own process.

torch holds the GIL for seconds while it is imported and while a network is traced, and between a
network's layers. In the server's process, every search would wait for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.embedding.query_text import Text
from lookalike_indexer.images.image_box import Boxed
from lookalike_server.common.placement_mode import PlacementMode
from lookalike_server.common.settings import CollectionSettings
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.placement.devices import Device
from lookalike_server.processes.embedding import Embedder, OpenEmbedder
from lookalike_server.processes.worker_process import OnHang, WorkerProcess, WorkerSpec

# The process itself ends a decoder after this time, so each image may add this much to a batch.
_DECODING_S = 10.0


@dataclass(frozen=True)
class EmbedderConfig:
    """Arguments for opening the network of one space; see QueryEmbedder.open."""

    root: str
    generation: int
    space: str
    device: str
    weights: str | None
    threads: int
    limits: ImageLimits


class ProcessEmbedder:
    """An Embedder whose network runs in another process. Not thread-safe.

    A batch may take `limit_s` seconds, plus the time limit of decoding its images. `on_hang` is as
    in worker_process.py.
    """

    def __init__(self, config: EmbedderConfig, silence_s: float, limit_s: float, on_hang: OnHang) -> None:
        """Start the process and wait for its network. Raises what QueryEmbedder.open raises."""
        self._limit_s = limit_s
        spec = WorkerSpec("embedding", "embeds images", _opened, config, silence_s=silence_s)
        self._worker = WorkerProcess(spec, on_hang)
        self.fingerprint: str = self._worker.request(None, limit_s)

    @property
    def alive(self) -> bool:
        """True if the process is running."""
        return self._worker.alive

    @property
    def hung(self) -> bool:
        """True if the process is running and sends no heartbeat."""
        return self._worker.hung

    def embed(self, files: Sequence[bytes | Boxed | Text]) -> EmbeddingResult:
        """Return the embeddings of encoded images and texts, and the reasons for those that failed.

        Raises DeviceError if the process ended, or had hung and was killed. The next call starts
        another.
        """
        embedded: EmbeddingResult = self._worker.request(files, self._limit_s + len(files) * _DECODING_S)
        return embedded

    def close(self) -> None:
        """End the process; its current work is lost."""
        self._worker.close()


def embedder_opener(
    chosen: CollectionSettings,
    placement: PlacementMode,
    devices: Sequence[Device],
    budget: ThreadBudget,
    on_hang: OnHang,
) -> OpenEmbedder:
    """Return a function that opens networks of a collection in processes, on the first of a server's devices."""
    device = "cpu" if placement == "cpu" else devices[0].name
    limits = chosen.limits

    def open_embedder(reader: CollectionReader, space: str) -> Embedder:
        generation = reader.manifest.generation
        config = EmbedderConfig(chosen.root, generation, space, device, chosen.weights, budget.embed, limits.images)
        return ProcessEmbedder(config, limits.max_silence_ms / 1000, limits.max_embed_ms / 1000, on_hang)

    return open_embedder


@contextmanager
def _opened(config: EmbedderConfig) -> Iterator[Callable[[Sequence[bytes | Boxed | Text] | None], Any]]:
    """Run the process's task: map files to their embeddings, and None to the fingerprint of its network."""
    from lookalike_indexer.embedding.query import QueryEmbedder

    embedder = QueryEmbedder.open(
        CollectionReader.open(config.root, config.generation),
        config.space,
        device=config.device,
        weights_file=config.weights,
        threads=config.threads,
        limits=config.limits,
    )
    with embedder:
        yield lambda files: embedder.fingerprint if files is None else embedder.timed(files)
