"""Embed the parts that are missing, on one device in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import pyarrow as pa

from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.part import Advance, PartEmbedder
from lookalike_indexer.embedding.plan import ModelPlan
from lookalike_indexer.embedding.store import PartCounts, PartStore
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.models.network import Network


def run_parts(
    storage: Storage,
    plan: ModelPlan,
    pool: PoolSettings,
    device: str,
    parts: Iterable[int],
    advance: Advance,
    network: Network | None = None,
) -> Iterator[tuple[int, PartCounts]]:
    """Embed and write parts; yields each one's number and counts when it is on disk.

    The next part's number is taken, and its images decoded, while the network
    works on the one before.
    """
    store = PartStore(storage, plan)
    taken: deque[int] = deque()

    def inputs() -> Iterator[pa.Table]:
        for part in parts:
            taken.append(part)
            yield store.input(part)

    with PartEmbedder(plan, pool, device, network) as embedder:
        for tables in embedder.tables(inputs(), advance):
            part = taken.popleft()
            yield part, store.write(part, tables)
