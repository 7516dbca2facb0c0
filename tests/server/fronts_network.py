"""Network for engine processes under test, which import it: the embedding of b"7" is the stored vector 7.

Zeros before the number make an image larger. The network waits while the collection's
folder has a file named HOLD.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from tests.server.conftest import FakeEmbedder, Float32

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.embedding_result import EmbeddingResult

HOLD = "hold"


class WaitingNetwork(FakeEmbedder):
    def __init__(self, vectors: Float32, fingerprint: str, hold: Path) -> None:
        super().__init__(vectors, fingerprint)
        self._hold = hold

    def embed(self, files: list[bytes]) -> EmbeddingResult:
        while self._hold.exists():
            time.sleep(0.01)
        return super().embed([file.lstrip(b"0") or file for file in files])


def open_network(reader: CollectionReader, space: str) -> FakeEmbedder:
    """Open the network; see OpenEmbedder."""
    entry = reader.manifest.spaces[space]
    hold = Path(reader.storage.root) / HOLD
    return WaitingNetwork(reader.vectors(space, np.arange(entry.rows)), entry.fingerprint, hold)
