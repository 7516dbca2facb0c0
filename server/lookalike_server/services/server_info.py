"""What this server is, and what it allows."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import grpc

from lookalike.v1 import server_pb2, server_pb2_grpc
from lookalike_server.current import Current
from lookalike_server.embedding import EmbedQueue
from lookalike_server.snapshot import Loader


class ServerServicer(server_pb2_grpc.ServerServiceServicer):
    def __init__(self, current: Current, loader: Loader, embed_queue: EmbedQueue) -> None:
        self._current = current
        self._loader = loader
        self._embed_queue = embed_queue

    async def GetServerInfo(
        self, request: server_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> server_pb2.GetServerInfoResponse:
        with self._current.lease() as snapshot:
            problem = await self._embed_queue.problem(snapshot)
            return server_pb2.GetServerInfoResponse(
                version=importlib.metadata.version("lookalike"),
                collection=snapshot.name,
                generation=snapshot.generation,
                placement=self._loader.placement,
                devices=[device.name for device in self._loader.devices],
                search_threads=self._loader.budget.search,
                embed_threads=self._loader.budget.embed,
                limits=self._published(),
                image_queries=not problem,
                image_query_problem=problem,
            )

    def _published(self) -> server_pb2.Limits:
        names = [field.name for field in server_pb2.Limits.DESCRIPTOR.fields]
        return server_pb2.Limits(**{name: getattr(self._loader.limits, name) for name in names})
