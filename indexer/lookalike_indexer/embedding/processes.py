"""Distributor over several devices of this machine: one process each, all taking parts from one queue."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from typing import Any

from lookalike_indexer.embedding.distributor import Job
from lookalike_indexer.embedding.part import Advance
from lookalike_indexer.embedding.part_store import Written
from lookalike_indexer.embedding.runner import run_parts
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.images.lifeline import end_with_parent
from lookalike_indexer.machines.work import Failed

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class _Advanced:
    images: int


@dataclass(frozen=True)
class _Done:
    written: Written


@dataclass(frozen=True)
class _Ended:
    worker: int


@dataclass(frozen=True)
class Processes:
    """Embeds on several devices, given by torch's names."""

    devices: Sequence[str]

    def embed(self, job: Job, parts: Sequence[str], advance: Advance) -> Iterator[Written]:
        """Embed parts, see `Distributor`. Errors of the workers are raised here.

        Raise DeviceError if a worker process died.
        """
        context = multiprocessing.get_context("spawn")
        numbers: Queue[str | None] = context.Queue()
        reports: Queue[Any] = context.Queue()
        workers = [
            context.Process(target=_work, args=(worker, device, job, numbers, reports), daemon=False)
            for worker, device in enumerate(self.devices)
        ]
        for worker in workers:
            worker.start()
        try:
            for part in parts:
                numbers.put(part)
            for _ in workers:
                numbers.put(None)
            yield from _reports(reports, workers, self.devices, advance)
        finally:
            # After an error nobody reads the remaining items.
            numbers.cancel_join_thread()
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()


def _reports(
    reports: Queue[Any], workers: Sequence[SpawnProcess], devices: Sequence[str], advance: Advance
) -> Iterator[Written]:
    running = set(range(len(workers)))
    while running:
        try:
            report = reports.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            for worker in running:
                if workers[worker].exitcode is not None:
                    raise DeviceError(
                        f"The process for {devices[worker]} ended with code {workers[worker].exitcode}; run the "
                        "command again to continue, with a smaller --batch-size if memory ran out."
                    ) from None
            continue
        if isinstance(report, _Advanced):
            advance(report.images)
        elif isinstance(report, _Done):
            yield report.written
        elif isinstance(report, _Ended):
            running.discard(report.worker)
        else:
            raise report.error()


def _work(worker: int, device: str, job: Job, numbers: Queue[str | None], reports: Queue[Any]) -> None:
    """Run a worker process: take parts from one queue and put the results into the other."""
    # The parent holds the collection's lock: after it is killed, nothing may be written.
    end_with_parent()
    try:
        for written in run_parts(
            job.inventory,
            job.source,
            job.pool,
            device,
            iter(numbers.get, None),
            lambda images: reports.put(_Advanced(images)),
        ):
            reports.put(_Done(written))
        reports.put(_Ended(worker))
    except Exception as error:  # any exception must reach the parent
        reports.put(Failed.of(device, error))
