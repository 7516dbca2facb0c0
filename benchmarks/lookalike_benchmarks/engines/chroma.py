"""Chroma's server on loopback, called by its HTTP client."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from lookalike_benchmarks.engines.ports import free_port
from lookalike_benchmarks.engines.shape import GRAPH_BUILD_EFFORT, GRAPH_EFFORTS, GRAPH_LINKS, filled
from lookalike_indexer.arrays import Float32, Int64

_BATCH = 1000
_START_S = 60.0


class Chroma:
    efforts = GRAPH_EFFORTS

    def build(self, vectors: Float32, folder: Path) -> None:
        port = free_port()
        command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder)]
        self._server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._client = _connected(port)
        settings = {"space": "ip", "ef_construction": GRAPH_BUILD_EFFORT, "max_neighbors": GRAPH_LINKS}
        self._collection = self._client.create_collection(
            "vectors", configuration={"hnsw": settings}, embedding_function=None
        )
        self._effort = 0
        for start in range(0, len(vectors), _BATCH):
            block = vectors[start : start + _BATCH]
            self._collection.add(ids=[str(start + number) for number in range(len(block))], embeddings=block)

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        if effort != self._effort:
            # A setting of the collection, not of a call.
            self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
            self._effort = effort
        found = self._collection.query(query_embeddings=queries, n_results=k, include=["distances"])
        return filled([[int(key) for key in row] for row in found["ids"]], k)

    def about(self) -> dict[str, Any]:
        version = importlib.metadata.version("chromadb")
        return {"version": version, "index": f"HNSW{GRAPH_LINKS}, fp32, ef_construction {GRAPH_BUILD_EFFORT}"}

    def close(self) -> None:
        self._server.terminate()
        self._server.wait(30)


def _connected(port: int) -> Any:
    end = time.monotonic() + _START_S
    while True:
        try:
            return chromadb.HttpClient("127.0.0.1", port, settings=Settings(anonymized_telemetry=False))
        except ValueError:
            # Raised while the server does not listen yet.
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


make = Chroma
