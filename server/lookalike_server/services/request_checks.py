"""Limits that are checked before any work: the number of names, and the size of the reply."""

from __future__ import annotations

from collections.abc import Sized

from lookalike_server.columns.columns import Columns
from lookalike_server.columns.space_images import Texts
from lookalike_server.common import reply_room
from lookalike_server.common.errors import ArgumentError, LargeReplyError
from lookalike_server.common.limits import Limits

# Bytes of a reply besides its neighbors: `served`, and the sizes of its columns.
_AROUND = 1 << 16
# Bytes of an id, and two float32 of a member or one of a neighbor.
_NUMBERS = 16
# Bytes of a query: its number of neighbors, or its cluster with size, distance, and margin.
_QUERY = 32


def check_names(field: str, names: Sized, limits: Limits) -> None:
    """Raise ArgumentError if a call names more models, clusterings, or tables than allowed."""
    if len(names) > limits.max_names:
        raise ArgumentError(
            field, f"The call has {len(names)} {field}; the limit is {limits.max_names}, which is max_names."
        )


def check_reply(
    columns: Columns, queries: int, k: int, texts: Texts, limits: Limits, field: str, vector_bytes: int = 0
) -> None:
    """Raise LargeReplyError if the reply to `queries` queries with k images each may exceed the limit.

    Raises PiecesNeededError if it may exceed a message and the call is not in pieces.
    `vector_bytes` is the size of each image's vector. The bound uses the longest texts of the
    collection, so whether a call is rejected does not depend on its results.
    """
    k = min(k, len(columns))
    wanted = {"keys": columns.key_sizes, "labels": columns.label_sizes, "uris": columns.uri_sizes}
    asked = [name for name, is_wanted in texts._asdict().items() if is_wanted]
    size = _AROUND + queries * (_QUERY + k * (_NUMBERS + vector_bytes) + sum(wanted[name].of(k) for name in asked))
    if size > limits.max_message_bytes:
        without = f", or without {' and '.join(asked)}" if asked else ""
        raise LargeReplyError(
            field,
            f"The reply to {queries} queries with {k} images each may have {size} bytes and the limit is "
            f"{limits.max_message_bytes}, which is max_message_bytes; request fewer{without}.",
        )
    reply_room.require_room(size, limits)


def check_vectors(queries: int, dim: int, limits: Limits) -> None:
    """Raise LargeReplyError or PiecesNeededError as `check_reply` does, for the vectors of `queries` images."""
    size = _AROUND + queries * (_QUERY + 4 * dim)
    if size > limits.max_message_bytes:
        raise LargeReplyError(
            "query",
            f"{queries} vectors have {size} bytes and the limit is {limits.max_message_bytes}, which is "
            "max_message_bytes; request fewer.",
        )
    reply_room.require_room(size, limits)
