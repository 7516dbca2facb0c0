"""Size that the current call's reply may have: one message, unless it travels in pieces."""

from __future__ import annotations

from contextvars import ContextVar

from lookalike_server.common.errors import PiecesNeededError
from lookalike_server.common.limits import Limits

_IN_PIECES: ContextVar[bool] = ContextVar("lookalike_in_pieces", default=False)


def in_pieces() -> None:
    """Allow the reply of this task's call to be in pieces."""
    _IN_PIECES.set(True)


def is_in_pieces() -> bool:
    """Return whether the reply of this task's call may be in pieces."""
    return _IN_PIECES.get()


def require_room(size: int, limits: Limits) -> None:
    """Raise PiecesNeededError if a reply of `size` bytes exceeds a message and the call is not in pieces."""
    if size > limits.whole_bytes and not _IN_PIECES.get():
        raise PiecesNeededError(
            f"The reply can have {size} bytes. A message has at most {limits.whole_bytes} (max_unary_bytes). Request "
            "fewer items, or use lookalike.v1.PieceService."
        )
