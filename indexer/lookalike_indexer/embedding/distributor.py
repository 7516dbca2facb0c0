"""Interface that distributes the parts of a run: to this process, one process per device, or cluster workers."""

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
    """The input of a run: an inventory's parts to embed, and the source that their URIs are relative to."""

    inventory: Inventory
    source: SourceEntry
    pool: PoolSettings


class Distributor(Protocol):
    """Embeds parts and writes them to the collection."""

    def embed(self, job: Job, parts: Sequence[str], advance: Advance) -> Iterator[Written]:
        """Embed and write parts, given by the paths of their listing; yield each when it is stored, in any order.

        The result of a part depends only on that part, not on the worker.
        """
        ...


@dataclass(frozen=True)
class InProcess:
    """Distributor that embeds in this process, on one device."""

    device: str
    network: Network

    def embed(self, job: Job, parts: Sequence[str], advance: Advance) -> Iterator[Written]:
        return run_parts(job.inventory, job.source, job.pool, self.device, parts, advance, self.network)
