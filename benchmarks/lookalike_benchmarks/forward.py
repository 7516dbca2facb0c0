"""Networks for measurements, their speed, and their number of operations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lookalike_benchmarks.peak import synchronize
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.uris import absolute
from lookalike_indexer.embedding.part import PartEmbedder, PartTables
from lookalike_indexer.embedding.resolve import Resolved, load, resolve
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.models.network import Network
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.listing import update_listing
from lookalike_indexer.sources.open import open_source


@dataclass(frozen=True)
class Setup:
    """A listed source, the settings of a run over it, and the network that they name."""

    storage: Storage
    settings: EmbedSettings
    pool: PoolSettings
    parts: list[str]
    resolved: Resolved
    source: SourceEntry

    @classmethod
    def of(cls, folder: Path, settings: EmbedSettings) -> Setup:
        storage = Storage(folder)
        source = open_source(settings.source)
        listing = update_listing(storage, source, None, settings.part_size, Silent())
        pool = PoolSettings(settings.workers_per_device)
        resolved = resolve(storage, None, settings, load(None, settings), pool, source.entry, listing.parts)
        return cls(storage, settings, pool, listing.parts, resolved, source.entry)

    def uris(self, part: str) -> list[str]:
        """Return the absolute URIs of the images of a part of the listing."""
        found = read_part(self.storage, part, ["uri"]).column("uri").to_pylist()
        return [absolute(self.source, uri) for uri in found]


def random_images(network: Network, batch: int, crop: int) -> torch.Tensor:
    """Return a random batch as the network's first layer takes it, on its device."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, crop, crop), np.uint8)
    return network.normalized(list(pixels))


def operations(network: Network, crop: int) -> float:
    """Return the floating-point operations of one image; a multiplication with its addition counts as two."""
    with FlopCounterMode(display=False) as counter:
        network.forward(random_images(network, 1, crop))
    return float(counter.get_total_flops())


def forward_call(network: Network, images: torch.Tensor, rounds: int = 1) -> Callable[[], None]:
    """Return a function that runs only the forward pass and waits for its end."""

    def call() -> None:
        for _ in range(rounds):
            network.forward(images)
        synchronize(str(images.device))

    return call


def forward_speed(network: Network, images: torch.Tensor, at_least_s: float) -> float:
    """Return images/s of the forward pass alone: the median of at least three calls after an uncounted one."""
    call = forward_call(network, images)
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < at_least_s:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return len(images) / statistics.median(times)


@dataclass(frozen=True)
class Round:
    """Images/s of one round: of the pipeline, and of the bare forward pass before and after it."""

    images: int
    pipeline: float
    forward: float


def pipeline_rounds(setup: Setup, rounds: int) -> Iterator[Round]:
    """Measure files to Parquet, and the network alone at the same batch size and type, in turn in one process.

    Both thus run under the same conditions. A source with few parts gives fewer rounds.
    """
    plan, network = setup.resolved.plan, setup.resolved.network
    images = random_images(network, plan.batch_size, plan.spec.preprocessing.crop)
    parts = [read_part(setup.storage, path) for path in setup.parts[:rounds]]
    with PartEmbedder(plan, setup.pool, setup.settings.devices[0], network, setup.source) as embedder:
        embedder(parts[0].slice(0, 2 * plan.batch_size))  # warm up: start workers, select kernels
        forward_call(network, images)()
        for number, part in enumerate(parts):
            calls = max(1, part.num_rows // plan.batch_size)
            before = _bare(network, images, calls)
            began = time.perf_counter()
            tables = embedder(part)
            _write(setup.storage, number, tables)
            whole = tables.images.num_rows / (time.perf_counter() - began)
            yield Round(part.num_rows, whole, statistics.mean([before, _bare(network, images, calls)]))


def _bare(network: Network, images: torch.Tensor, calls: int) -> float:
    began = time.perf_counter()
    forward_call(network, images, calls)()
    return calls * len(images) / (time.perf_counter() - began)


def _write(storage: Storage, number: int, tables: PartTables) -> None:
    write_part(storage, layout.images(number), tables.images)
    assert tables.predictions is not None
    write_part(storage, layout.predictions("model", number), tables.predictions)
    for space, table in tables.embeddings.items():
        write_part(storage, layout.embeddings(space, number), table)
