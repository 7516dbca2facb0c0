"""ServerService: version, settings, and state of this server."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

import grpc

from lookalike.v1 import server_pb2
from lookalike_server.common import visible
from lookalike_server.generation.current import Current
from lookalike_server.generation.loader import Loader
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live.collection import LiveCollection
from lookalike_server.live.folding import Folding
from lookalike_server.processes.embedding import EmbedQueue
from lookalike_server.query.reload import Reloader


@functools.cache
def _version() -> str:
    # Cached, because it searches the folders of all packages.
    return importlib.metadata.version("lookalike")


class ServerServicer:
    """Implementation of ServerService for one collection."""

    def __init__(
        self,
        current: Current,
        loader: Loader,
        embed_queue: EmbedQueue,
        reloader: Reloader,
        live: LiveCollection,
        folding: Folding,
    ) -> None:
        self._current = current
        self._loader = loader
        self._embed_queue = embed_queue
        self._reloader = reloader
        self._live = live
        self._folding = folding

    async def GetServerInfo(
        self, request: server_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> server_pb2.GetServerInfoResponse:
        with self._current.lease() as snapshot:
            problem = await self._embed_queue.problem(snapshot)
            live = self._live.summary(snapshot)
            verification = snapshot.base.verification
            return server_pb2.GetServerInfoResponse(
                version=_version(),
                collection=snapshot.name,
                generation=snapshot.generation,
                placement="shards" if self._loader.shards else self._loader.placement,
                shard=str(self._loader.share or ""),
                devices=self._devices(snapshot),
                search_threads=self._loader.budget.search,
                embed_threads=self._loader.budget.embed,
                limits=self._published(),
                image_queries=not problem,
                image_query_problem=visible.text(problem),
                writable=live.writable,
                sequence=live.sequence,
                live_rows=live.added,
                deleted_rows=live.deleted,
                last_fold_us=round(1e6 * self._folding.last_fold),
                update_problem=visible.text(live.problem or self._folding.problem),
                files=verification.files,
                verified_files=verification.verified,
                damage=visible.text(verification.damage),
            )

    def _devices(self, snapshot: Snapshot) -> list[str]:
        """Return the requested devices, or those that hold the indexes after a loss."""
        if self._loader.shards is not None:
            count = len(self._loader.shards.shards)
            return [f"shard {number}/{count}" for number in range(1, count + 1)]
        asked = [device.name for device in self._loader.devices]
        if self._loader.on_loss != "cpu":
            return asked
        spaces = [space for space in snapshot.spaces.values() if space.searchable]
        return list(dict.fromkeys(name for space in spaces for name in space.engine.devices)) or asked

    async def Reload(
        self, request: server_pb2.ReloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> server_pb2.ReloadResponse:
        before = self._current.newest
        previous = 0 if before is None else before.generation
        return server_pb2.ReloadResponse(generation=await self._reloader.load_newest(), previous=previous)

    def _published(self) -> server_pb2.Limits:
        names = [field.name for field in server_pb2.Limits.DESCRIPTOR.fields]
        return server_pb2.Limits(**{name: getattr(self._loader.limits, name) for name in names})
