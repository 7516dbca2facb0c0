"""The ListCollections method, about all collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from lookalike.v1 import server_pb2
from lookalike_server.common import visible
from lookalike_server.generation.current import Current
from lookalike_server.transport.collection_names import CollectionNames


class CollectionList:
    """Implementation of ListCollections, the only call that is not about one collection."""

    def __init__(self, names: CollectionNames, collections: Mapping[str, Current]) -> None:
        self._names = names
        self._collections = collections

    async def list_collections(
        self, request: server_pb2.ListCollectionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> server_pb2.ListCollectionsResponse:
        """Return the collections that the caller may ask about. Those not loaded have the reason in `problem`."""
        told = [_served_collection(name, self._collections[name]) for name in self._names.visible()]
        return server_pb2.ListCollectionsResponse(collections=told)


def _served_collection(name: str, current: Current) -> server_pb2.ServedCollection:
    snapshot = current.newest
    if snapshot is None:
        return server_pb2.ServedCollection(name=name, problem=visible.text(current.problem))
    return server_pb2.ServedCollection(name=name, generation=snapshot.generation, images=len(snapshot.columns))
