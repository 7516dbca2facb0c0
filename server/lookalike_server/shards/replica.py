"""One server of a shard, as a router sees it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from lookalike.v1 import shard_pb2
from lookalike_server.common.shard_settings import ShardSettings

_SERVICE = shard_pb2.DESCRIPTOR.services_by_name["ShardService"].full_name
# A returning server is found within a second. Messages need no limit, because the requests bound them.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Share no connection with another replica at the same address, or with the server's own callers.
    ("grpc.use_local_subchannel_pool", 1),
)


class Replica:
    """A server of shard `shard`, counted from 1. `live`: it answered the last health check.

    `generations` has its loaded generations by digest. `problem` says why it is not asked. `calls`
    counts all calls to it, and `under_way` those without an answer. It was last live at
    `last_live`, in the time of `time.monotonic`.
    """

    def __init__(self, address: str, shard: int, settings: ShardSettings) -> None:
        self.address = address
        self.shard = shard
        self.live = False
        self.problem = "the router has not asked it yet"
        self.generations: Mapping[str, shard_pb2.ShardGeneration] = {}
        self.newest = 0
        self.told: frozenset[str] = frozenset()
        self.under_way = 0
        self.calls = 0
        self.last_live = -math.inf
        # Number of consecutive health checks without an answer.
        self.missed = 0
        self._lock = threading.Lock()
        self._channel = _channel(address, settings)
        self.get_shard: Any = self._channel.unary_unary(
            f"/{_SERVICE}/GetShard",
            request_serializer=shard_pb2.GetShardRequest.SerializeToString,
            response_deserializer=shard_pb2.GetShardResponse.FromString,
        )
        # A request goes to all shards, so it is serialized only once.
        self.search: Any = self._channel.unary_unary(
            f"/{_SERVICE}/SearchShard",
            request_serializer=_as_it_is,
            response_deserializer=shard_pb2.SearchShardResponse.FromString,
        )

    @contextmanager
    def counted_call(self) -> Iterator[None]:
        """Count a call to it while the block runs. Thread-safe."""
        with self._lock:
            self.calls += 1
            self.under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= 1

    def has(self, digest: str) -> bool:
        """Return whether it can be asked about a generation."""
        return self.live and digest in self.generations

    def answered(self, reply: shard_pb2.GetShardResponse, shards: int, told: Sequence[str]) -> None:
        """Record the answer to a health check.

        There should be `shards` shards; it was `told` which digests are in use.
        """
        self.missed, self.told = 0, frozenset(told)
        if other := self.mismatch(reply.shard, reply.shards, shards):
            self.lost(other)
            return
        self.generations = {one.digest: one for one in reply.generations}
        self.newest = max((one.generation for one in reply.generations), default=0)
        self.live, self.problem, self.last_live = True, "", time.monotonic()

    def mismatch(self, shard: int, of: int, shards: int) -> str:
        """Return why a server that claims to be shard `shard`/`of` is not the listed one; "" if it is."""
        if (shard, of) == (self.shard, shards):
            return ""
        return f"it is shard {shard}/{of}, and is listed as shard {self.shard}/{shards}"

    def lost(self, problem: str) -> None:
        """Mark it as lost: it is not asked until it answers a health check."""
        if self.live:
            self.last_live = time.monotonic()
        self.live, self.problem = False, problem

    def close(self) -> None:
        self._channel.close()


def _channel(address: str, settings: ShardSettings) -> grpc.Channel:
    if settings.ca is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        settings.ca.read_bytes(),
        None if settings.key is None else settings.key.read_bytes(),
        None if settings.cert is None else settings.cert.read_bytes(),
    )
    return grpc.secure_channel(address, credentials, options=_OPTIONS)


def _as_it_is(message: bytes) -> bytes:
    return message
