"""Log and count of what has hung."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

from lookalike_server.batching.workers import Workers
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current

log = logging.getLogger(__name__)


class Hangs:
    """Counts by what has hung: "embedding", "experiments", "search", "scan", or "workers". Thread-safe."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, what: str, sentence: str) -> None:
        """Log a sentence about something that has hung, and count it."""
        log.error("%s", sentence)
        with self._lock:
            self._counts[what] += 1

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of hangs so far, by kind."""
        with self._lock:
            return dict(self._counts)

    async def watch(self, collections: Sequence[tuple[Current, Limits]], workers: Workers, interval: float) -> None:
        """Every `interval` seconds, give up hung work of this process and log old leases. Runs forever."""
        while True:
            for current, limits in collections:
                for snapshot in current.snapshots:
                    for lane, sentence in snapshot.check_threads():
                        self.note(lane, sentence)
                current.report(limits.max_lease_ms / 1000)
            for sentence in workers.check_threads():
                self.note("workers", sentence)
            await asyncio.sleep(interval)
