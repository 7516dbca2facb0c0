"""Services of a server, and how to register each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from lookalike.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    collection_pb2,
    collection_pb2_grpc,
    experiment_pb2,
    experiment_pb2_grpc,
    pieces_pb2,
    search_pb2,
    search_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    shard_pb2,
    shard_pb2_grpc,
    update_pb2,
    update_pb2_grpc,
)

SERVED: tuple[tuple[ServiceDescriptor, Callable[[Any, grpc.aio.Server], None]], ...] = (
    (
        search_pb2.DESCRIPTOR.services_by_name["SearchService"],
        search_pb2_grpc.add_SearchServiceServicer_to_server,
    ),
    (
        cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"],
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server,
    ),
    (
        collection_pb2.DESCRIPTOR.services_by_name["CollectionService"],
        collection_pb2_grpc.add_CollectionServiceServicer_to_server,
    ),
    (
        experiment_pb2.DESCRIPTOR.services_by_name["ExperimentService"],
        experiment_pb2_grpc.add_ExperimentServiceServicer_to_server,
    ),
    (
        update_pb2.DESCRIPTOR.services_by_name["UpdateService"],
        update_pb2_grpc.add_UpdateServiceServicer_to_server,
    ),
    (
        server_pb2.DESCRIPTOR.services_by_name["ServerService"],
        server_pb2_grpc.add_ServerServiceServicer_to_server,
    ),
    (
        shard_pb2.DESCRIPTOR.services_by_name["ShardService"],
        shard_pb2_grpc.add_ShardServiceServicer_to_server,
    ),
)
# Methods that take one message and return one.
METHODS: Final[tuple[str, ...]] = tuple(
    f"/{service.full_name}/{method.name}" for service, _ in SERVED for method in service.methods
)
# Services that reflection lists, including the one that carries these methods in pieces.
SERVICES = (
    *(service.full_name for service, _ in SERVED),
    pieces_pb2.DESCRIPTOR.services_by_name["PieceService"].full_name,
)

# Needs a device.
SEARCHING = search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name
# Needs a process of its own.
EXPERIMENTING = experiment_pb2.DESCRIPTOR.services_by_name["ExperimentService"].full_name
# Answered only by a shard.
SHARDED = shard_pb2.DESCRIPTOR.services_by_name["ShardService"].full_name
