"""Page tokens: opaque, and of use only in the generation and for the request that they were made for."""

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
    """The number of the last change that the pages of a token have; None where it says nothing."""
    try:
        sequence: int = _TOKEN.unpack(base64.b64decode(token, altchars=b"-_", validate=True))[1]
    except (binascii.Error, struct.error, ValueError):
        return None
    return sequence


@dataclass(frozen=True)
class Page:
    """A run of rows, `start` to `stop`, of a listing of `total`."""

    start: int
    stop: int
    total: int


@dataclass(frozen=True)
class Pager:
    """Pages of one listing: `request` names what is listed, without size and token.

    They are of a generation with the changes up to a sequence, as long as a server keeps that: see Current.keep.
    """

    generation: int
    request: str
    sequence: int = 0

    def page(self, token: str, size: int, total: int, limits: Limits) -> Page:
        """The page that a request asks for.

        ArgumentError: a size out of range, or a token that was made for
        something else. MismatchError: a token of another generation.
        """
        if not 0 <= size <= limits.max_page_size:
            raise ArgumentError("page_size", f"page_size is {size}; it must be 0 to {limits.max_page_size}.")
        start = self._position(token) if token else 0
        if not 0 <= start <= total:
            raise ArgumentError("page_token", "The page token was not made for this request; begin without one.")
        rows = size or min(limits.default_page_size, limits.max_page_size)
        return Page(start, min(total, start + rows), total)

    def token_after(self, page: Page) -> str:
        """The token of the page after this one; "" after the last."""
        if page.stop >= page.total:
            return ""
        return base64.urlsafe_b64encode(_TOKEN.pack(self.generation, self.sequence, page.stop, self._digest())).decode()

    def _position(self, token: str) -> int:
        try:
            generation, sequence, position, digest = _TOKEN.unpack(
                base64.b64decode(token, altchars=b"-_", validate=True)
            )
        except (binascii.Error, struct.error, ValueError) as error:
            raise ArgumentError("page_token", "The page token is not one that this server gave.") from error
        if generation != self.generation:
            raise MismatchError(
                f"The page token is of generation {generation} and generation {self.generation} is served now; "
                "begin again without a token."
            )
        if sequence != self.sequence:
            raise MismatchError(
                "The collection has changed since the page token was made, and the server does not keep its state of "
                "then; begin again without a token."
            )
        if digest != self._digest():
            raise ArgumentError("page_token", "The page token was made for another request; begin without one.")
        return int(position)

    def _digest(self) -> bytes:
        return hashlib.sha256(self.request.encode()).digest()[:8]
