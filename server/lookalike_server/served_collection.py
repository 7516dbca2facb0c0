"""One collection of a server: the served generation, and everything that belongs to this collection alone."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_server.batching.batcher import Observe
from lookalike_server.batching.workers import Workers
from lookalike_server.common import visible
from lookalike_server.common.collection_name import known_as
from lookalike_server.common.served import Served
from lookalike_server.common.settings import CollectionSettings, ServeSettings
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.generation.current import Current
from lookalike_server.generation.loader import Loader
from lookalike_server.generation.memory_trim import trim_memory
from lookalike_server.generation.router_generations import RouterGenerations
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.verification import FileVerifier, step_back
from lookalike_server.live.collection import LiveCollection
from lookalike_server.live.folding import Folding
from lookalike_server.observe.observatory import Observatory
from lookalike_server.placement.devices import Device
from lookalike_server.processes.embedding import EmbedQueue, OpenEmbedder
from lookalike_server.processes.embedding_process import embedder_opener
from lookalike_server.processes.experiment_queue import ExperimentQueue
from lookalike_server.processes.experiment_runner import ExperimentRunner, ProcessExperimentRunner, RunnerConfig
from lookalike_server.processes.hangs import Hangs
from lookalike_server.processes.thumbnails import Thumbnails
from lookalike_server.query.queries import Resolver
from lookalike_server.query.reload import Reloader
from lookalike_server.services.cluster import ClusterServicer
from lookalike_server.services.collection import CollectionServicer
from lookalike_server.services.experiments import ExperimentServicer
from lookalike_server.services.search import SearchServicer
from lookalike_server.services.server_info import ServerServicer
from lookalike_server.services.shard import ShardServicer
from lookalike_server.services.update import UpdateServicer
from lookalike_server.shards.shard_set import ShardSet, ShardsMovedOnError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedParts:
    """Parts that the collections of one server share before the server starts.

    `mapped` is a folder for files that its processes map, None if there is only one process.
    """

    settings: ServeSettings
    budget: ThreadBudget
    devices: Sequence[Device]
    observatory: Observatory
    hangs: Hangs
    mapped: Path | None = None


class ServedCollection:
    """Loads and follows one collection, with its own queues, processes, and limits.

    Call `load` first. Then `servicers` returns the servicers of its calls, and `tasks` the tasks
    that keep it up to date. `close` ends all of it.
    """

    def __init__(
        self,
        chosen: CollectionSettings,
        shared: SharedParts,
        *,
        open_embedder: OpenEmbedder | None = None,
        experiment_runner: ExperimentRunner | None = None,
        verifier: FileVerifier | None = None,
    ) -> None:
        settings, budget = shared.settings, shared.budget
        self._observatory = shared.observatory
        self.limits = chosen.limits
        # The name that callers use.
        self.name = known_as(chosen.name, chosen.root)
        self._root = chosen.root
        self._weights = chosen.weights
        self._experiments_run = settings.experiments
        self._watch_s = settings.watch
        self.live = LiveCollection(chosen.root, chosen.limits, writable=settings.writable)
        self.audit = shared.observatory.audit(self.name)
        self.share = settings.share
        self._shards = None if settings.shards is None else ShardSet(settings.shards)
        self.loader = Loader(
            settings.placement,
            shared.devices,
            chosen.limits,
            budget,
            self._lane,
            settings.on_loss,
            verifier or FileVerifier(),
            chosen.indexes,
            chosen.name,
            settings.share,
            self._shards,
            # Fronts cannot share it if changes are known only to this process, or if a shard or router has only part of
            # the index.
            None if settings.writable or settings.share or self._shards else shared.mapped,
        )
        self._open_embedder = open_embedder or embedder_opener(
            chosen, settings.placement, shared.devices, budget, shared.hangs.note
        )
        # Half of the processors, as for the network; searches keep the rest.
        self.experiment_runner = experiment_runner or ProcessExperimentRunner(
            RunnerConfig(chosen.root, chosen.weights, budget.embed, chosen.limits), shared.hangs.note
        )

    async def load(self, *, required: bool = True) -> Exception | None:
        """Load the newest generation, and open the queues.

        Raises NotFoundError if there is no collection, and DataLossError and DeviceError as Loader
        does. If it is not `required`, the error is returned and logged, calls about the collection
        are rejected, and its reloader tries again.
        """
        failed = snapshot = None
        try:
            snapshot = await asyncio.to_thread(self._loaded)
        except Exception as error:
            if required:
                raise
            failed = error
        self.current = Current()
        self._kept = None if self.share is None else RouterGenerations(self.current)
        self.live.serve(self.current)
        if snapshot is not None:
            async with self.live.adopting(snapshot) as view:
                self.current.swap(view)
        self.embed_queue = EmbedQueue(self._open_embedder, self.limits, observe=self._lane("embedding"))
        self.experiments = ExperimentQueue(self.experiment_runner, self.limits)
        self.reloader = Reloader(
            self._root,
            self.loader,
            self.current,
            self.embed_queue,
            self._watch_s,
            self.live.adopting,
            self.limits.max_load_ms / 1000,
        )
        self.folding = Folding(self._root, self.current, self.live, self.limits, self.reloader.load_newest)
        if failed is not None:
            await self.reloader.note_failure(failed)
        return failed

    def servicers(self, workers: Workers, thumbnails: Thumbnails) -> dict[str, object]:
        """Return the servicers of this collection by service. They use threads and processes of the whole server."""
        current, limits = self.current, self.limits
        resolver = Resolver(limits, workers, self.embed_queue)
        experiments = self.experiments if self._experiments_run else None
        return {
            "SearchService": SearchServicer(current, limits, resolver, workers, self.audit),
            "ClusterService": ClusterServicer(current, limits, resolver, workers),
            "CollectionService": CollectionServicer(current, limits, thumbnails, workers),
            "ExperimentService": ExperimentServicer(current, limits, experiments, workers),
            "UpdateService": UpdateServicer(current, limits, self.live, self.folding, self.embed_queue, workers),
            "ShardService": ShardServicer(current, limits, self.share, self._kept, workers),
            "ServerService": ServerServicer(
                current, self.loader, self.embed_queue, self.reloader, self.live, self.folding
            ),
        }

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return the background tasks that run until the server ends."""
        tasks = [self.reloader.watch(), self._start_up(), self.live.follow(), self.folding.watch()]
        return tasks if self._kept is None else [*tasks, self._kept.watch()]

    @property
    def served(self) -> Served:
        """Summary of what is served now."""
        snapshot = self.current.newest
        if snapshot is None:
            return Served(self.name, self.current.problem)
        indexes = [f"{name}/{space.index.name}" for name, space in snapshot.spaces.items() if space.index]
        return Served(snapshot.name, "", snapshot.generation, len(snapshot.columns), tuple(indexes))

    @property
    def is_verified(self) -> bool:
        """True if all files of its generation have been verified and none is damaged."""
        snapshot = self.current.newest
        return snapshot is not None and snapshot.base.verification.is_whole

    @property
    def runs_experiments(self) -> bool:
        """True if experiments are enabled, and their process responds."""
        return self._experiments_run and not self.experiments.hung

    @property
    def cached_bytes(self) -> int:
        """Bytes of the cached answers of experiments."""
        return self.experiments.cached_bytes

    @property
    def shard_replicas(self) -> dict[int, int]:
        """Number of replicas of each shard that a router can ask. Thread-safe."""
        shards = () if self._shards is None else self._shards.shards
        return {number: sum(one.live for one in replicas) for number, replicas in enumerate(shards, 1)}

    def queues(self) -> dict[str, int]:
        """Return the length of each queue. Thread-safe."""
        snapshot = self.current.newest
        return {
            "search": 0 if snapshot is None else snapshot.waiting("search"),
            "scan": 0 if snapshot is None else snapshot.waiting("scan"),
            "embedding": self.embed_queue.waiting,
            "experiments": self.experiments.waiting,
        }

    def hidden_folders(self) -> list[str]:
        """Return the folders to hide from callers that see no paths."""
        snapshot = self.current.newest
        root = Path(self._root)
        if snapshot is None:
            return [str(root.absolute()), str(root.resolve())]
        return visible.folders_of(snapshot.reader, self._weights)

    async def close(self) -> None:
        """End the queues and their processes, and close the generations. The calls must have ended."""
        await asyncio.to_thread(self.live.close)
        self.current.close()
        await asyncio.gather(asyncio.to_thread(self.embed_queue.close), asyncio.to_thread(self.experiments.close))
        if self._shards is not None:
            await asyncio.to_thread(self._shards.close)

    def _loaded(self) -> Snapshot:
        """Load the newest generation. A writable server first takes over the log of changes."""
        reader = CollectionReader.open(self._root)
        self.live.begin(reader.manifest.folded_through)
        while True:
            try:
                return self.loader.load(reader, first=True)
            except ShardsMovedOnError as error:
                newest = CollectionReader.open(self._root)
                if newest.manifest.generation == reader.manifest.generation:
                    raise
                log.info("%s", error)
                reader = newest

    def _lane(self, lane: str) -> Observe | None:
        return self._observatory.lane(lane, self.name)

    async def _start_up(self) -> None:
        """Open the default space's network before calls need it, and verify the remaining files."""
        snapshot = self.current.newest
        if snapshot is None:
            return
        if not snapshot.base.verification.is_whole:
            threading.Thread(target=_verify_rest, args=(snapshot.base,), name="verify", daemon=True).start()
        with self.current.lease() as leased:
            problem = await self.embed_queue.problem(leased)
        await asyncio.to_thread(trim_memory)
        if problem:
            log.warning("the server cannot answer image queries: %s", problem)


def _verify_rest(snapshot: Snapshot) -> None:
    step_back()
    began = time.monotonic()
    snapshot.verify_rest()
    told = snapshot.verification
    log.info(
        "%s: %d of %d files verified in %.1f s", snapshot.name, told.verified, told.files, time.monotonic() - began
    )
