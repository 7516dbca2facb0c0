"""Distributor over the machines of a Ray cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from lookalike_indexer.collection.lock import witness
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.distributor import Job
from lookalike_indexer.embedding.part import Advance
from lookalike_indexer.embedding.part_store import Written
from lookalike_indexer.embedding.plan import network_of
from lookalike_indexer.embedding.runner import run_parts
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.machines.work import Work
from lookalike_indexer.models.carried import carried, restored
from lookalike_indexer.models.compute import resolve_compute
from lookalike_indexer.sources.container import is_remote
from lookalike_indexer.threads import processors


class OverMachines:
    """Distributor over a cluster. The network is sent as bytes; each worker writes the parts that it embedded."""

    def __init__(self, machines: Machines, module: torch.nn.Module, settings: EmbedSettings) -> None:
        """Create the distributor. `module` is the plan's network on the CPU."""
        self._machines, self._module, self._settings = machines, module, settings

    def embed(self, job: Job, parts: Sequence[str], advance: Advance) -> Iterator[Written]:
        """See `Distributor`; errors as those of `Machines.run`."""
        make = _Embedding(job, carried(self._module), self._settings.devices[0], self._settings.workers)
        return self._machines.run(make, parts, advance, "part")


@dataclass(frozen=True)
class _Embedding:
    """Factory of a worker's function. `workers` are its decoding processes; None: one for each processor that it may
    use.
    """

    job: Job
    network: bytes
    device: str
    workers: int | None

    def __call__(self) -> Work[str, Written]:
        plan, job = self.job.inventory.plan, self.job
        network = network_of(plan, restored(plan.spec, self.network), self.device)
        pool = dataclasses.replace(job.pool, workers=self.workers or processors())

        def work(parts: Iterator[str], advance: Advance) -> Iterator[Written]:
            return run_parts(job.inventory, job.source, pool, self.device, parts, advance, network)

        return work


def elsewhere(settings: EmbedSettings, machines: Machines) -> EmbedSettings:
    """Return the settings of a run on a cluster's devices, with a `compute` type that they support."""
    (device,) = machines.devices
    if device == "cpu":
        return dataclasses.replace(settings, devices=(device,))
    asked = settings.compute
    compute = machines.run_once(lambda: resolve_compute(asked, device))
    return dataclasses.replace(settings, devices=(device,), compute=compute, elsewhere=True)


def check_machines(machines: Machines, storage: Storage, source: str) -> None:
    """Check that all machines can do the work, and can access images and collection. Errors: `Machines.check`."""
    machines.check([*([] if is_remote(source) else [source]), *witness(storage)])
