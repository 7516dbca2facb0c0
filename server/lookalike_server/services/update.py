"""UpdateService: changes to a served collection."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import numpy as np

from lookalike import wire
from lookalike.v1 import types_pb2, update_pb2, update_pb2_grpc
from lookalike_indexer.arrays import Int64
from lookalike_server.batching.workers import Workers
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live.changes import DeletedKeys, Described, NewImages, Restored, logged
from lookalike_server.live.collection import LiveCollection
from lookalike_server.live.committer import Committed
from lookalike_server.live.folding import Folding
from lookalike_server.live.state import Computed
from lookalike_server.processes.embedding import EmbedQueue
from lookalike_server.query.upserts import NewVectors, checked_keys, checked_values
from lookalike_server.services import filtering
from lookalike_server.services.replies import deadline_of


class UpdateServicer(update_pb2_grpc.UpdateServiceServicer):
    def __init__(
        self,
        current: Current,
        limits: Limits,
        live: LiveCollection,
        folding: Folding,
        embed_queue: EmbedQueue,
        workers: Workers,
    ) -> None:
        self._current = current
        self._limits = limits
        self._live = live
        self._folding = folding
        self._workers = workers
        self._vectors = NewVectors(limits, workers, embed_queue)

    async def Upsert(
        self, request: update_pb2.UpsertRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> update_pb2.UpsertResponse:
        committer = self._live.committer
        with self._current.lease() as snapshot:
            count = len(request.keys)
            await self._workers.run(lambda: _check(request, self._limits), count)
            embedded = await self._vectors.embed(snapshot, request, deadline_of(context))
            failed = embedded.failed
            kept = [row for row in range(count) if row not in failed]
            ids, replaced, sequence = np.full(count, -1, np.int64), 0, snapshot.sequence
            if kept:

                def made(uris: list[str]) -> tuple[NewImages, Computed, bytes]:
                    values = checked_values(request.attributes, count, snapshot.filters.columns, self._limits)
                    labels = request.labels or [""] * count
                    images = NewImages(
                        [request.keys[row] for row in kept],
                        {name: rows[kept] for name, rows in embedded.vectors.items()},
                        [labels[row] for row in kept],
                        [values[row] for row in kept],
                        [embedded.pictures[row].format for row in kept],
                        np.array([embedded.pictures[row].sizes for row in kept], np.int64),
                        uris,
                        {model: one.rows(np.array(kept)) for model, one in embedded.classes.items()},
                    )
                    return images, Computed.of(snapshot.base, images), logged(images)

                async def stored() -> Committed:
                    files = [embedded.files[row] for row in kept] if embedded.files else []
                    async with self._live.keeping(files) as uris:
                        images, computed, payload = await self._workers.run(
                            lambda: made(uris or [""] * len(kept)), count
                        )
                        return await committer.commit(images, payload, computed)

                # Shielded, so that a caller that leaves does not interrupt it between the steps.
                committed = await asyncio.shield(asyncio.ensure_future(stored()))
                ids[kept] = committed.outcome.ids
                replaced, sequence = committed.outcome.gone, committed.sequence
        rejects = [types_pb2.RowError(row=row, message=failed[row]) for row in sorted(failed)]
        return update_pb2.UpsertResponse(ids=wire.encode(ids), rejects=rejects, sequence=sequence, replaced=replaced)

    async def Delete(
        self, request: update_pb2.DeleteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> update_pb2.DeleteResponse:
        committer = self._live.committer
        if request.HasField("filter") == bool(request.keys):
            raise ArgumentError("keys", "The call does not select what to delete; set one of keys and filter.")
        with self._current.lease() as snapshot:
            if request.HasField("filter"):
                matches = (await filtering.matches_of(snapshot, request.filter, self._workers)).matches
                keys = await self._workers.run(lambda: snapshot.columns.keys(np.flatnonzero(matches.images)))
            else:
                keys = await self._workers.run(lambda: self._named(request.keys))
            if not keys:
                return update_pb2.DeleteResponse(sequence=snapshot.sequence)
            change = DeletedKeys(keys)
            payload = await self._workers.run(lambda: logged(change))
            committed = await committer.commit(change, payload)
        return update_pb2.DeleteResponse(
            deleted=committed.outcome.gone, unknown=committed.outcome.unknown, sequence=committed.sequence
        )

    async def Set(
        self, request: update_pb2.SetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> update_pb2.SetResponse:
        committer = self._live.committer
        if not request.HasField("label") and not request.attributes:
            raise ArgumentError("label", "The call changes nothing; set label or attributes.")
        with self._current.lease() as snapshot:
            change = await self._workers.run(lambda: self._described(snapshot, request))
            committed = await committer.commit(change, await self._workers.run(lambda: logged(change)))
        return update_pb2.SetResponse(sequence=committed.sequence)

    def _described(self, snapshot: Snapshot, request: update_pb2.SetRequest) -> Described:
        keys = self._named(request.keys)
        if request.HasField("label"):
            _check_label(request.label, "label")
        # Raises NotFoundError if a key is unknown.
        snapshot.columns.rows_of_keys(keys)
        values = checked_values(request.attributes, 1, snapshot.filters.columns, self._limits)[0]
        return Described(keys, request.label if request.HasField("label") else None, values)

    async def Restore(
        self, request: update_pb2.RestoreRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> update_pb2.RestoreResponse:
        committer = self._live.committer
        ids = await self._workers.run(lambda: _ids(request, self._limits))
        with self._current.lease() as snapshot:
            if not len(ids):
                return update_pb2.RestoreResponse(sequence=snapshot.sequence)
            change = Restored(ids)
            committed = await committer.commit(change, await self._workers.run(lambda: logged(change)))
        return update_pb2.RestoreResponse(
            restored=committed.outcome.gone, unknown=committed.outcome.unknown, sequence=committed.sequence
        )

    async def Fold(
        self, request: update_pb2.FoldRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> update_pb2.FoldResponse:
        if not self._live.writable:
            # Raises NotBuiltError, which names the fix.
            _ = self._live.committer
        folded = await self._folding.fold()
        return update_pb2.FoldResponse(generation=folded.generation, sequence=folded.sequence)

    def _named(self, keys: Any) -> list[str]:
        if not 1 <= len(keys) <= self._limits.max_page_size:
            raise ArgumentError(
                "keys", f"The call has {len(keys)} keys; it must have 1 to {self._limits.max_page_size}."
            )
        return list(keys)


def _check(request: update_pb2.UpsertRequest, limits: Limits) -> None:
    """Raise ArgumentError if keys, labels, or their numbers are wrong."""
    keys = checked_keys(request.keys, limits)
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise ArgumentError("keys", f"The key {twice[0]!r} occurs twice; send each key once.")
    if len(request.labels) not in (0, len(keys)):
        raise ArgumentError("labels", f"The call has {len(request.labels)} labels for {len(keys)} images.")
    for place, label in enumerate(request.labels):
        _check_label(label, f"labels[{place}]")
    if bool(request.images) == bool(request.vectors):
        raise ArgumentError("images", "The call has no content for its keys; set one of images and vectors.")
    if request.images and len(request.images) != len(keys):
        raise ArgumentError("images", f"The call has {len(request.images)} images for {len(keys)} keys.")


def _ids(request: update_pb2.RestoreRequest, limits: Limits) -> Int64:
    if not request.HasField("ids"):
        return np.empty(0, np.int64)
    try:
        ids = wire.decode(request.ids)
    except ValueError as error:
        raise ArgumentError("ids", f"The ids cannot be read: {error}.") from error
    if ids.dtype != np.int64 or ids.ndim != 1:
        raise ArgumentError(
            "ids", f"The ids are {ids.dtype} with {ids.ndim} dimensions; send int64 with one dimension."
        )
    if len(ids) > limits.max_page_size:
        raise ArgumentError("ids", f"The call has {len(ids)} ids; the limit is {limits.max_page_size}.")
    return ids


def _check_label(label: str, field: str) -> None:
    if len(label.encode(errors="replace")) > _LONGEST_LABEL:
        raise ArgumentError(field, f"A label has more than {_LONGEST_LABEL} bytes; shorten it.")


_LONGEST_LABEL = 1024
