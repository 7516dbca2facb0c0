"""Filters and requested columns, for all services."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lookalike.v1 import filter_pb2
from lookalike_indexer.arrays import Int64
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.clusterings import Clustering, Matching
from lookalike_server.common.errors import LargeReplyError
from lookalike_server.common.limits import Limits
from lookalike_server.filters.attributes import requested_columns, values
from lookalike_server.filters.match_cache import Matches
from lookalike_server.filters.matching import FilterMatches
from lookalike_server.generation.snapshot import Snapshot

# A filter of at most this many bytes is looked up in the cache on the event loop.
_SHORT = 1 << 10


async def matches_of(snapshot: Snapshot, message: filter_pb2.Filter, workers: Workers) -> FilterMatches:
    """Return the matches of a call's filter: from the cache, or computed by a worker."""
    if message.ByteSize() <= _SHORT:
        known = snapshot.filters.find_cached(message)
        if known is not None:
            return known
    return await workers.run(lambda: snapshot.filters.find(message))


def matching(snapshot: Snapshot, clustering: Clustering, matches: Matches | None) -> Clustering | Matching:
    """Return a clustering, or its matching members if there is a filter."""
    if matches is None:
        return clustering
    columns, images = snapshot.columns, matches.images
    return Matching(clustering, lambda ids: images[columns.places(ids)])


@dataclass(frozen=True)
class RequestedColumns:
    """The columns that a call requests."""

    snapshot: Snapshot
    names: list[str]

    @classmethod
    def of(cls, snapshot: Snapshot, names: Iterable[str], limits: Limits, field: str = "fields") -> RequestedColumns:
        """Raises ArgumentError if there are too many columns, or an unknown one."""
        return cls(snapshot, requested_columns(names, snapshot.filters.columns, limits, field))

    def __bool__(self) -> bool:
        return bool(self.names)

    def of_rows(self, rows: Int64) -> list[filter_pb2.AttributeValues]:
        """Return the values of these columns for some rows (n,) of the images.

        Reads from the disk unless there are no columns, so do not call it on the event loop.
        """
        return values(self.snapshot.filters.columns, self.names, rows) if self.names else []


def fitting(reply: bytes, limits: Limits) -> bytes:
    """Return a reply with requested columns unchanged. Raises LargeReplyError if it exceeds the message limit.

    Checked afterwards, because the lengths of attribute values are unknown before they are read.
    """
    if len(reply) > limits.max_message_bytes:
        raise LargeReplyError(
            "fields",
            f"The reply has {len(reply)} bytes and the limit is {limits.max_message_bytes}, which is "
            "max_message_bytes; request fewer images, or fewer columns.",
        )
    return reply
