"""ShardService: what a shard has, and what it finds in its share of the images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import grpc

from lookalike.v1 import shard_pb2, shard_pb2_grpc
from lookalike_indexer.errors import NotBuiltError
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.common.share import Share
from lookalike_server.generation.current import Current
from lookalike_server.generation.router_generations import RouterGenerations
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.search.share_engine import ShareEngine, ShareWork
from lookalike_server.services.replies import deadline_of
from lookalike_server.shards.messages import index_message, mask_of, response_message, work_of

# Copying this many bytes costs as much as looking up one image.
_PER_ITEM = 1 << 14


class ShardServicer(shard_pb2_grpc.ShardServiceServicer):
    """Servicer of a shard. If `share` is None, it rejects every call."""

    def __init__(
        self, current: Current, limits: Limits, share: Share | None, kept: RouterGenerations | None, workers: Workers
    ) -> None:
        self._current = current
        self._limits = limits
        self._share = share
        self._kept = kept
        self._workers = workers
        self._masks = _Masks(limits.max_filter_bytes)

    async def GetShard(
        self, request: shard_pb2.GetShardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> shard_pb2.GetShardResponse:
        share = self._own_share()
        if len(request.digests) > self._limits.max_names:
            raise ArgumentError("digests", f"The call has more than {self._limits.max_names} digests.")
        if self._kept is not None and request.router:
            self._kept.note(request.router, request.digests)
        reply = shard_pb2.GetShardResponse(shard=share.number, shards=share.of)
        for snapshot in sorted(self._current.snapshots, key=lambda one: one.generation):
            told = reply.generations.add(generation=snapshot.generation, digest=snapshot.made)
            for name, engine in _engines(snapshot).items():
                told.indexes.append(index_message(name, engine.entry.name, engine.facts))
        return reply

    async def SearchShard(
        self, request: shard_pb2.SearchShardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized SearchShardResponse, or one that names the unknown masks."""
        share = self._own_share()
        with self._current.lease_of(request.digest) as snapshot:
            space = snapshot.space(request.space)
            engine = _engines(snapshot).get(space.name)
            if engine is None:
                raise NotBuiltError(f"The space {space.name} has no served index.")
            large = sum(len(mask.bits) for mask in request.masks) + len(request.queries.data)
            rows = len(space.rows.ids) if request.scan else engine.facts.rows
            # Checked before they are unpacked, which takes eight times their bytes.
            if any(mask.rows != rows for mask in request.masks):
                raise ArgumentError("masks", f"The masks must have {rows} rows.")

            def read() -> ShareWork | list[str]:
                masks, unknown = self._masks.masks_of(list(request.masks))
                return unknown or work_of(request, engine.facts, masks, self._limits.max_message_bytes)

            work = await self._workers.run_lookup(read, large // _PER_ITEM)
            if isinstance(work, list):
                return shard_pb2.SearchShardResponse(unknown_masks=work, shard=share.number, shards=share.of)
            found = await engine.search_share(work, deadline_of(context))
            return await self._workers.run_lookup(
                lambda: response_message(found, share).SerializeToString(), 2 * found.rows.nbytes // _PER_ITEM
            )

    def _own_share(self) -> Share:
        if self._share is None:
            raise NotBuiltError("This server is not a shard; start it with --shard N/M.")
        return self._share


class _Masks:
    """LRU cache of the masks that routers sent, of at most `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], RowMask] = OrderedDict()

    def masks_of(self, messages: list[shard_pb2.ShardMask]) -> tuple[list[RowMask], list[str]]:
        """Return the masks of a call, or else the digests of unknown ones. Thread-safe."""
        masks, unknown = [], []
        for message in messages:
            with self._lock:
                mask = self._known.get((message.digest, message.rows))
            if mask is None and message.rows and not message.bits:
                unknown.append(message.digest)
                continue
            if mask is None:
                mask = mask_of(message)
                if mask.digest != message.digest:
                    raise ArgumentError("masks", f"The bits of the mask {message.digest} do not match its digest.")
                self._keep(message.digest, mask)
            masks.append(mask)
        return masks, unknown

    def _keep(self, digest: str, mask: RowMask) -> None:
        with self._lock:
            self._known[digest, len(mask)] = mask
            while len(self._known) > 1 and sum(one.nbytes for one in self._known.values()) > self._most:
                self._known.popitem(last=False)


def _engines(snapshot: Snapshot) -> dict[str, ShareEngine]:
    """Return the engines of all spaces with an index, by the name of the space."""
    searchable = {name: space.engine for name, space in snapshot.spaces.items() if space.searchable}
    return {name: engine for name, engine in searchable.items() if isinstance(engine, ShareEngine)}
