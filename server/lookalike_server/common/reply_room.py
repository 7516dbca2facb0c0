"""How large the reply of the call at hand may be: that of one message, unless it travels in pieces."""

from __future__ import annotations

from contextvars import ContextVar

from lookalike_server.common.errors import PiecesNeededError
from lookalike_server.common.limits import Limits

_IN_PIECES: ContextVar[bool] = ContextVar("lookalike_in_pieces", default=False)


def in_pieces() -> None:
    """Let the reply of this task's call be in pieces."""
    _IN_PIECES.set(True)


def is_in_pieces() -> bool:
    """Whether the reply of this task's call may be in pieces."""
    return _IN_PIECES.get()


def require_room(size: int, limits: Limits) -> None:
    """PiecesNeededError: a reply of so many bytes is larger than a message, and the call is not in pieces."""
    if size > limits.whole_bytes and not _IN_PIECES.get():
        raise PiecesNeededError(
            f"The reply may have {size} bytes, and one message {limits.whole_bytes}, which is max_unary_bytes; "
            "ask for less at a time, or in pieces, by lookalike.v1.PieceService."
        )
