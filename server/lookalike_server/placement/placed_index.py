"""An index where it was placed, and the way to place it anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lookalike_server.placement.searcher import Searcher


@dataclass(frozen=True)
class PlacedIndex:
    """Where an index is, and how it is placed anew when its device has failed; None where that is not wanted.

    `again` raises DeviceError when it cannot be placed. `elsewhere` tells that
    it places the index on another device, so that it need not wait for one that hangs.
    """

    searcher: Searcher
    again: Callable[[], Searcher] | None = None
    elsewhere: bool = False
