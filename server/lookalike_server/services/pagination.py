"""Page tokens: opaque, and valid only for the generation and request they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from lookalike_indexer.errors import MismatchError
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits

_TOKEN = struct.Struct("<qqq8s")


def sequence_of(token: str) -> int | None:
    """Return the sequence of the last change that a token's pages include, or None if the token is malformed."""
    try:
        sequence: int = _TOKEN.unpack(base64.b64decode(token, altchars=b"-_", validate=True))[1]
    except (binascii.Error, struct.error, ValueError):
        return None
    return sequence


@dataclass(frozen=True)
class Page:
    """Rows `[start, stop)` of a listing of `total` rows."""

    start: int
    stop: int
    total: int


@dataclass(frozen=True)
class Pager:
    """Pages of one listing. `request` identifies what is listed, without size and token.

    The pages are of a generation with the changes up to `sequence`, while the server keeps that
    state: see Current.retain.
    """

    generation: int
    request: str
    sequence: int = 0

    def page(self, token: str, size: int, total: int, limits: Limits) -> Page:
        """Return the requested page.

        Raises ArgumentError if the size is out of range or the token was made for something else,
        and MismatchError if it is of another generation.
        """
        if not 0 <= size <= limits.max_page_size:
            raise ArgumentError("page_size", f"page_size is {size}; it must be 0 to {limits.max_page_size}.")
        start = self._position(token) if token else 0
        if not 0 <= start <= total:
            raise ArgumentError("page_token", "The page token is not for this request; start without one.")
        rows = size or min(limits.default_page_size, limits.max_page_size)
        return Page(start, min(total, start + rows), total)

    def token_after(self, page: Page) -> str:
        """Return the token of the next page; "" after the last."""
        if page.stop >= page.total:
            return ""
        return base64.urlsafe_b64encode(_TOKEN.pack(self.generation, self.sequence, page.stop, self._digest())).decode()

    def _position(self, token: str) -> int:
        try:
            generation, sequence, position, digest = _TOKEN.unpack(
                base64.b64decode(token, altchars=b"-_", validate=True)
            )
        except (binascii.Error, struct.error, ValueError) as error:
            raise ArgumentError("page_token", "The page token is not valid; start without one.") from error
        if generation != self.generation:
            raise MismatchError(
                f"The page token is for generation {generation} and the server now has generation {self.generation}; "
                "start again without a token."
            )
        if sequence != self.sequence:
            raise MismatchError(
                "The collection has changed since the page token was made, and the server no longer keeps that state; "
                "start again without a token."
            )
        if digest != self._digest():
            raise ArgumentError("page_token", "The page token is for another request; start without one.")
        return int(position)

    def _digest(self) -> bytes:
        return hashlib.sha256(self.request.encode()).digest()[:8]
