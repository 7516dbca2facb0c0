"""One server of a shard, as a router knows it."""

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
# A server that comes back is found within a second; messages are bounded by what is asked for.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # No connection is shared with another replica of the same address, or with the server's own callers.
    ("grpc.use_local_subchannel_pool", 1),
)


class Replica:
    """A server of shard `shard`, from 1 on. `live`: it answered when it was last asked how it is.

    `generations` has what it has loaded, by digest; `problem` says why it is
    not asked. `calls` counts the calls to it, `under_way` those that it has not
    answered. It was last there at `last_live`, in the time of `time.monotonic`.
    """

    def __init__(self, address: str, shard: int, settings: ShardSettings) -> None:
        self.address = address
        self.shard = shard
        self.live = False
        self.problem = "it was not asked yet"
        self.generations: Mapping[str, shard_pb2.ShardGeneration] = {}
        self.newest = 0
        self.told: frozenset[str] = frozenset()
        self.under_way = 0
        self.calls = 0
        self.last_live = -math.inf
        # How often in a row it did not say how it is.
        self.missed = 0
        self._lock = threading.Lock()
        self._channel = _channel(address, settings)
        self.get_shard: Any = self._channel.unary_unary(
            f"/{_SERVICE}/GetShard",
            request_serializer=shard_pb2.GetShardRequest.SerializeToString,
            response_deserializer=shard_pb2.GetShardResponse.FromString,
        )
        # One message goes to all shards, and is serialized once.
        self.search: Any = self._channel.unary_unary(
            f"/{_SERVICE}/SearchShard",
            request_serializer=_as_it_is,
            response_deserializer=shard_pb2.SearchShardResponse.FromString,
        )

    @contextmanager
    def asked(self) -> Iterator[None]:
        """A call to it, as long as the block runs. From any thread."""
        with self._lock:
            self.calls += 1
            self.under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= 1

    def has(self, digest: str) -> bool:
        """Whether it can be asked about a generation."""
        return self.live and digest in self.generations

    def answered(self, reply: shard_pb2.GetShardResponse, shards: int, told: Sequence[str]) -> None:
        """Take note of how it is, where there should be `shards` shards; it was `told` of what the router uses."""
        self.missed, self.told = 0, frozenset(told)
        if other := self.other_than(reply.shard, reply.shards, shards):
            self.lost(other)
            return
        self.generations = {one.digest: one for one in reply.generations}
        self.newest = max((one.generation for one in reply.generations), default=0)
        self.live, self.problem, self.last_live = True, "", time.monotonic()

    def other_than(self, shard: int, of: int, shards: int) -> str:
        """Why a server that says it is shard `shard`/`of` is not this one of `shards` shards; "" where it is."""
        if (shard, of) == (self.shard, shards):
            return ""
        return f"it is shard {shard}/{of}, and is listed as shard {self.shard}/{shards}"

    def lost(self, problem: str) -> None:
        """Ask it nothing until it says how it is."""
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
