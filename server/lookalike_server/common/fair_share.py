"""Rule for what one of several sharers of a bounded resource may add."""

from __future__ import annotations


def beyond(waits: int, more: int, most: int, sharers: int) -> bool:
    """Return whether `more` must be rejected, with `waits` already there and `sharers` sharing the bound `most`.

    An equal share is always accepted, so small requests are not rejected because of large ones of
    others. So the total is at most 1 + 1/2 + 1/3 + ... times `most`.
    """
    return bool(waits) and waits + more > most and more > most / (sharers + 1)
