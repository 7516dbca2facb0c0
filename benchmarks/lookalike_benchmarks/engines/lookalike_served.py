"""Lookalike as a service: `lookalike serve` on loopback, called by the public client."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import lookalike
from lookalike_benchmarks.engines.lookalike_local import build_collection, steps
from lookalike_benchmarks.engines.shape import filled
from lookalike_benchmarks.serving import serving
from lookalike_indexer.arrays import Float32, Int64

_AT_ONCE = 128


class LookalikeServed:
    def __init__(self, index: str = "auto") -> None:
        self._wanted = index
        self.efforts: Sequence[int] = [0]
        self._open = ExitStack()

    def build(self, vectors: Float32, folder: Path) -> None:
        reader = build_collection(vectors, folder, self._wanted)
        self._entry = reader.index()
        self.efforts = steps(self._entry)
        server = self._open.enter_context(serving(reader.storage.root))
        self._client = self._open.enter_context(lookalike.Client(server.address))

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        # Blocks within the server's limit; the batches that are timed are smaller.
        blocks = (queries[start : start + _AT_ONCE] for start in range(0, len(queries), _AT_ONCE))
        found = [near for block in blocks for near in self._client.search(vectors=block, k=k, nprobe=effort or None)]
        return filled([np.asarray(near.ids).tolist() for near in found], k)

    def about(self) -> dict[str, Any]:
        return {"version": importlib.metadata.version("lookalike"), "index": self._entry.factory}

    def close(self) -> None:
        self._open.close()


make = LookalikeServed
