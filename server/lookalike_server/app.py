"""Composition root: assembles a server from its parts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import faiss

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.threads import processors
from lookalike_server.batching.workers import Workers
from lookalike_server.common.served import Served
from lookalike_server.common.settings import ServeSettings
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.generation.current import Current
from lookalike_server.generation.memory_trim import limit_arenas
from lookalike_server.generation.verification import FileVerifier
from lookalike_server.observe.gauges import RunningBatch
from lookalike_server.observe.observatory import Observatory
from lookalike_server.placement.build_searchers import choose_devices
from lookalike_server.placement.devices import Device
from lookalike_server.processes.embedding import OpenEmbedder
from lookalike_server.processes.experiment_runner import ExperimentRunner
from lookalike_server.processes.hangs import Hangs
from lookalike_server.processes.thumbnails import Thumbnails
from lookalike_server.served_collection import ServedCollection, SharedParts
from lookalike_server.services.collection_list import CollectionList
from lookalike_server.services.routing import routed
from lookalike_server.transport.access import ADMIN
from lookalike_server.transport.collection_names import CollectionNames
from lookalike_server.transport.grpc_server import GrpcServer
from lookalike_server.transport.health import VERIFIED, Health, MonitoredCollection, Statuses
from lookalike_server.transport.local_user import LocalUser
from lookalike_server.transport.service_table import EXPERIMENTING, SEARCHING, SERVED, SERVICES, SHARDED
from lookalike_server.transport.tokens import Tokens

# Imported with the first thumbnail; see Thumbnails.
if TYPE_CHECKING:
    from lookalike_indexer.images.thumbnail_pool import ThumbnailPool

log = logging.getLogger(__name__)

# Interval of health checks of devices and network.
_LOOK_S = 0.25


class Entrance(Protocol):
    """Source of calls: a GrpcServer, or what stands in for it."""

    @property
    def statuses(self) -> Statuses: ...

    @property
    def calls_in_flight(self) -> int: ...

    @property
    def admission(self) -> RunningBatch: ...

    def add(self, servicers: Mapping[str, Any]) -> None: ...

    def open(self) -> int: ...

    async def start(self) -> None: ...

    async def drain(self, grace: float) -> None: ...

    @property
    def resident_bytes(self) -> Mapping[int, int]: ...

    def close(self) -> None: ...


class App:
    """A server. Call `start`, read `address`, and call `stop`. Tests pass other devices and processes.

    Calls come through its own gRPC server, or else through the result of `entrance`. `mapped` is a
    folder for files that its processes map.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        devices: Sequence[Device] | None = None,
        open_embedder: OpenEmbedder | None = None,
        experiment_runner: ExperimentRunner | None = None,
        verifier: FileVerifier | None = None,
        entrance: Callable[[App], Entrance] | None = None,
        mapped: Path | None = None,
    ) -> None:
        self._settings = settings
        self._entrance = entrance
        self._budget = ThreadBudget.detect()
        limit_arenas(processors())
        if devices is None:
            there = 0 if settings.placement == "cpu" else faiss.get_num_gpus()
            devices = choose_devices(settings.placement, settings.gpus, there)
        self._observatory = Observatory(settings.observe, ADMIN, several=len(settings.collections) > 1)
        self.hangs = Hangs()
        shared = SharedParts(settings, self._budget, devices, self._observatory, self.hangs, mapped)
        self._devices = devices
        first, *others = settings.collections
        self.first = ServedCollection(
            first, shared, open_embedder=open_embedder, experiment_runner=experiment_runner, verifier=verifier
        )
        self.collections = (
            self.first,
            *(ServedCollection(other, shared, open_embedder=open_embedder) for other in others),
        )
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the newest generation of each collection and answer calls about them.

        Raises NotFoundError if a collection does not exist, and DataLossError and DeviceError as
        Loader does; with several collections, only if none can be loaded. Raises IndexerError if
        the address cannot be bound.
        """
        settings, limits = self._settings, self._settings.limits
        # Its result is the reason why the server should end; "" for none.
        self.ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # First, so that a mistake in that file is reported before an index is loaded.
        tokens = None if settings.listen.tokens is None else Tokens(settings.listen.tokens)
        await self._load()
        processes = self._budget.workers
        self._workers = Workers(processes, limits.max_queue, self._budget.claim_search, limits.max_read_ms / 1000)
        self._thumbnails = Thumbnails(lambda: _thumbnail_pool(processes, limits.images), limits.max_queue, processes)
        self._server: Entrance = (
            GrpcServer(settings, self._observatory.interceptor, self.hidden_folders, tokens, LocalUser())
            if self._entrance is None
            else self._entrance(self)
        )
        always = [service for service in SERVICES if service not in (SEARCHING, EXPERIMENTING, SHARDED)]
        others = {
            EXPERIMENTING: lambda: any(one.runs_experiments for one in self.collections),
            SHARDED: lambda: settings.share is not None,
            VERIFIED: lambda: all(one.is_verified for one in self.collections),
        }
        watched = [MonitoredCollection(one.name, one.current, one.embed_queue) for one in self.collections]
        self._health = Health(watched, [SEARCHING], always, others, self._server.statuses)
        self._server.add(self._servicers())
        try:
            self._observatory.open(self, self._devices, tokens)
            self._port = self._server.open()
            await self._server.start()
        except BaseException:
            await self._close()
            raise
        await self._health.publish()
        held = [(one.current, one.limits) for one in self.collections]
        self._tasks = [
            *(asyncio.create_task(task) for one in self.collections for task in one.tasks()),
            asyncio.create_task(self._health.watch(min(_LOOK_S, settings.watch), self._lost)),
            asyncio.create_task(self.hangs.watch(held, self._workers, min(_LOOK_S, settings.watch))),
        ]
        log.info("threads: %d to search, %d to embed", self._budget.search, self._budget.embed)

    def end(self, why: str = "") -> None:
        """Request that the server is stopped."""
        if not self.ending.done():
            self.ending.set_result(why)

    def _lost(self, what: str) -> None:
        if self._settings.on_loss == "fail":
            self.end(what)

    @property
    def current(self) -> Current:
        """Served generation of the first collection."""
        return self.first.current

    @property
    def served(self) -> list[Served]:
        """Summary of each served collection."""
        return [one.served for one in self.collections]

    @property
    def address(self) -> str:
        """Address as host:port, with the actual port if 0 was requested."""
        return self._settings.listen.address(self._port)

    @property
    def metrics_port(self) -> int | None:
        """Port of the metrics, or None if there is none."""
        return self._observatory.metrics_port

    @property
    def calls_in_flight(self) -> int:
        return self._server.calls_in_flight

    @property
    def front_bytes(self) -> Mapping[int, int]:
        """Resident memory of each front, by its number; empty without fronts. Thread-safe."""
        return self._server.resident_bytes

    @property
    def admission(self) -> RunningBatch:
        """Calls and bytes in flight of each peer."""
        return self._server.admission

    @property
    def cached_bytes(self) -> int:
        """Bytes of the cached answers of experiments."""
        return sum(one.cached_bytes for one in self.collections)

    def queues(self) -> dict[str, int]:
        """Return the length of each queue, summed over all collections. Thread-safe."""
        waiting: Counter[str] = Counter()
        for one in self.collections:
            waiting.update(one.queues())
        return {**waiting, **self.shared_queues()}

    def shared_queues(self) -> dict[str, int]:
        """Return the length of each queue that all collections share. Thread-safe."""
        return {"thumbnails": self._thumbnails.waiting, "workers": self._workers.waiting}

    def reload(self) -> None:
        """Check for newer generations now."""
        for one in self.collections:
            one.reloader.nudge()

    async def stop(self, grace: float | None = None) -> None:
        """Reject new calls, give those in flight `grace` seconds (None: the setting), and end.

        A second call waits for the first stop: two overlapping stops of gRPC end the process
        (docs/reliability-evidence.md).
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(self._settings.grace if grace is None else grace))
        await asyncio.shield(self._stopping)

    async def _stop(self, grace: float) -> None:
        await self._health.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.drain(grace)
        for one in self.collections:
            await one.reloader.close()
        await self._close()

    async def _close(self) -> None:
        await asyncio.to_thread(self._observatory.close)
        await asyncio.gather(*(one.close() for one in self.collections))
        await asyncio.to_thread(self._thumbnails.close)
        self._workers.close()
        self._server.close()

    def _servicers(self) -> dict[str, Any]:
        """Return the servicers by the full name of their service."""
        names = CollectionNames([one.name for one in self.collections])
        listing = CollectionList(names, {one.name: one.current for one in self.collections})
        whole = {"ListCollections": listing.list_collections}
        servicers = {one.name: one.servicers(self._workers, self._thumbnails) for one in self.collections}
        return {
            service.full_name: routed(
                service, names, {name: each[service.name] for name, each in servicers.items()}, whole
            )
            for service, _ in SERVED
        }

    async def _load(self) -> None:
        """Load every collection. With several, one that cannot be loaded does not prevent the others."""
        several = len(self.collections) > 1
        failed = [await one.load(required=not several) for one in self.collections]
        errors = [error for error in failed if error is not None]
        if len(errors) == len(self.collections):
            raise errors[0]

    def hidden_folders(self) -> list[str]:
        """Return the folders to hide from callers that see no paths."""
        return [folder for one in self.collections for folder in one.hidden_folders()]


def _thumbnail_pool(processes: int, limits: ImageLimits) -> ThumbnailPool:
    from lookalike_indexer.images.thumbnail_pool import ThumbnailPool

    return ThumbnailPool(processes, limits=limits)
