"""Who may have more of what is bounded for all."""

from __future__ import annotations


def beyond(waits: int, more: int, most: int, sharers: int) -> bool:
    """Whether something may not wait with so much that waits already, of so many sharers.

    What is no more than an equal share of all may wait even so: who asks for
    little is not refused because of those who ask for much. So no more than
    1 + 1/2 + 1/3 + ... times as much can wait in all.
    """
    return bool(waits) and waits + more > most and more > most / (sharers + 1)
