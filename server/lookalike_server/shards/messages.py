"""Messages between a router and its shards, and their conversion to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from lookalike import wire
from lookalike.v1 import shard_pb2, types_pb2
from lookalike_indexer.errors import DeviceError
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.share import Share
from lookalike_server.placement.facts import Facts, Strategy
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.share import Candidates, ShareFacts, ShareMode
from lookalike_server.placement.strategies import RawHits
from lookalike_server.search.share_engine import Found, ShareWork

_MODES: Mapping[ShareMode, shard_pb2.ShardMode.ValueType] = {
    "rows": shard_pb2.SHARD_MODE_ROWS,
    "candidates": shard_pb2.SHARD_MODE_CANDIDATES,
    "whole": shard_pb2.SHARD_MODE_WHOLE,
}
# Largest value of max_nprobe, and the bytes of a row with its distance and cost.
_MOST_NPROBE, _ROW_BYTES = 2048, 16
_STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def index_message(space: str, name: str, facts: ShareFacts) -> shard_pb2.ShardIndex:
    """Return the description of an index that a shard sends."""
    return shard_pb2.ShardIndex(
        space=space,
        name=name,
        mode=_MODES[facts.mode],
        dim=facts.dim,
        rows=facts.rows,
        lossless=facts.lossless,
        uncompressed=facts.uncompressed,
        depends_on_k=facts.depends_on_k,
        factor=facts.factor,
        least=facts.least,
    )


def index_facts(message: shard_pb2.ShardIndex) -> ShareFacts:
    """Parse the description of an index. Raises DeviceError if it is of another release."""
    mode = next((mode for mode, known in _MODES.items() if known == message.mode), None)
    if mode is None:
        raise DeviceError("This router does not know the search method of a shard; run the same release on all.")
    return ShareFacts(
        mode,
        message.dim,
        message.rows,
        message.lossless,
        message.uncompressed,
        message.depends_on_k,
        message.factor,
        message.least,
    )


def request_message(
    digest: str, space: str, collection: str, work: ShareWork, *, bits: bool
) -> shard_pb2.SearchShardRequest:
    """Return a router's request. Without `bits`, masks are named only by their digests."""
    message = shard_pb2.SearchShardRequest(
        digest=digest,
        space=space,
        collection=collection,
        k=work.k,
        nprobe=work.nprobe,
        scan=work.scan,
        candidates=work.candidates,
        queries=wire.encode(work.queries),
        wanted=wire.encode(work.wanted),
    )
    if work.masks is not None:
        for mask in work.masks.masks:
            message.masks.add(digest=mask.digest, rows=len(mask), bits=mask.bits.tobytes() if bits else b"")
        message.mask_of.CopyFrom(wire.encode(work.masks.numbers))
    return message


def work_of(
    message: shard_pb2.SearchShardRequest, facts: ShareFacts, masks: Sequence[RowMask], most_bytes: int
) -> ShareWork:
    """Parse and check a router's request. `masks` are those that it names. Raises ArgumentError if it is invalid.

    `facts` describe the index, whose rows the masks have. The reply may have `most_bytes`.
    """
    queries = _array(message.queries, "queries", np.float32, 2)
    wanted = _array(message.wanted, "wanted", np.int64, 1)
    count = len(queries)
    if queries.shape[1] != facts.dim or not np.isfinite(queries).all():
        raise ArgumentError("queries", f"The queries must be finite numbers of {facts.dim} dimensions.")
    if message.k < 1 or message.nprobe < 0 or message.candidates < 0:
        raise ArgumentError("k", "k must be 1 or more; nprobe and candidates must be 0 or more.")
    if message.nprobe > _MOST_NPROBE:
        raise ArgumentError("nprobe", f"nprobe is {message.nprobe}; it must be at most {_MOST_NPROBE}.")
    if count * max(facts.widest(message.k), message.candidates) * _ROW_BYTES > most_bytes:
        raise ArgumentError("k", "The reply would exceed the largest message; request fewer queries or neighbors.")
    if len(wanted) != count or (wanted < 0).any() or (wanted > message.k).any():
        raise ArgumentError("wanted", "Each value of wanted must be 0 to k.")
    query_masks = None
    if masks:
        numbers = _array(message.mask_of, "mask_of", np.int64, 1)
        if len(numbers) != count or (numbers < 0).any() or (numbers >= len(masks)).any():
            raise ArgumentError("mask_of", "Each value of mask_of must be the number of a mask.")
        query_masks = QueryMasks(tuple(masks), numbers)
    return ShareWork(queries, message.k, message.nprobe, wanted, query_masks, message.candidates, message.scan)


def mask_of(message: shard_pb2.ShardMask) -> RowMask:
    """Return a mask that was sent with its bits. Raises ArgumentError if the bits do not match the rows."""
    if message.rows < 0 or len(message.bits) != -(-message.rows // 8):
        raise ArgumentError("masks", f"A mask of {message.rows} rows cannot have {len(message.bits)} bytes.")
    bits = np.frombuffer(message.bits, np.uint8)
    return RowMask(np.unpackbits(bits, count=message.rows, bitorder="little").view(np.bool_))


def response_message(found: Found, share: Share) -> shard_pb2.SearchShardResponse:
    """Return a shard's response as a message."""
    message = shard_pb2.SearchShardResponse(
        rows=wire.encode(found.rows),
        distances=wire.encode(found.distances),
        effort=wire.encode(_int64(found.effort)),
        shard=share.number,
        shards=share.of,
    )
    if isinstance(found, Candidates):
        message.costs.CopyFrom(wire.encode(found.costs))
        message.candidates.CopyFrom(wire.encode(found.sizes))
    if found.facts is not None:
        message.strategies.extend(found.facts.strategy)
        message.visited.CopyFrom(wire.encode(_int64(found.facts.visited)))
        message.skipped.CopyFrom(wire.encode(_int64(found.facts.skipped)))
        message.local.CopyFrom(wire.encode(found.facts.local.astype(np.float64)))
        message.cached.CopyFrom(wire.encode(found.facts.cached))
    return message


def parse_hits(message: shard_pb2.SearchShardResponse) -> Found:
    """Parse a shard's response. Raises ValueError if it is incomplete."""
    rows, distances = wire.decode(message.rows), wire.decode(message.distances)
    effort, facts = wire.decode(message.effort), None
    if rows.ndim != 2 or rows.shape != distances.shape or len(effort) != len(rows):
        raise ValueError("rows and distances differ in shape")
    if message.strategies:
        facts = Facts(
            [kind for kind in message.strategies if kind in _STRATEGIES],
            wire.decode(message.visited),
            wire.decode(message.skipped),
            wire.decode(message.local),
            wire.decode(message.cached),
        )
    if not message.HasField("costs"):
        return RawHits(rows, distances, effort, facts)
    costs = wire.decode(message.costs)
    if costs.shape != rows.shape:
        raise ValueError("rows and costs differ in shape")
    return Candidates(rows, distances, costs, wire.decode(message.candidates), effort, facts)


def _int64(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return values.astype(np.int64, copy=False)


def _array(tensor: types_pb2.Tensor, field: str, dtype: type, dimensions: int) -> npt.NDArray[Any]:
    try:
        values = wire.decode(tensor)
    except ValueError as error:
        raise ArgumentError(field, f"{field}: {error}.") from error
    if values.dtype != dtype or values.ndim != dimensions:
        raise ArgumentError(field, f"{field} must be {np.dtype(dtype)} with {dimensions} dimensions.")
    return values
