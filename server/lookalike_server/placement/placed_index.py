"""A placed index, and the function that places it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lookalike_server.placement.searcher import Searcher


@dataclass(frozen=True)
class PlacedIndex:
    """A placed index, and how to place it again after its device has failed.

    `again` is None if that is not wanted; it raises DeviceError if the index cannot be placed.
    `elsewhere`: it uses another device, so it need not wait for one that hangs.
    """

    searcher: Searcher
    again: Callable[[], Searcher] | None = None
    elsewhere: bool = False
