"""Who embeds the parts of a run: this process, one process for each device, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.embedding.inventory import Inventory
from lookalike_indexer.embedding.part import Advance
from lookalike_indexer.embedding.part_store import Written
from lookalike_indexer.embedding.runner import run_parts
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.models.network import Network


@dataclass(frozen=True)
class Job:
    """What is to be embedded: parts of the listing of an inventory, whose URIs are relative to a source."""

    inventory: Inventory
    source: SourceEntry
    pool: PoolSettings


class Distributor(Protocol):
    """Embeds parts and writes them to the collection."""

    def embed(self, job: Job, parts: Sequence[str], advance: Advance) -> Iterator[Written]:
        """Embed and write parts, given by the paths of their listing; yields each when it is stored, in any order.

        The result of a part depends on that part alone, not on the worker.
        """
        ...


@dataclass(frozen=True)
class InProcess:
    """Embeds in this process, on one device."""

    device: str
    network: Network

    def embed(self, job: Job, parts: Sequence[str], advance: Advance) -> Iterator[Written]:
        return run_parts(job.inventory, job.source, job.pool, self.device, parts, advance, self.network)
