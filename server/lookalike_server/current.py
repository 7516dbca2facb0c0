"""The snapshot that is served now, and those that calls in flight still use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lookalike_server.snapshot import Snapshot

log = logging.getLogger(__name__)


class Current:
    """Hands out the newest snapshot; an older one is closed when its last lease ends.

    All of it happens in the event loop's thread, between two awaits, so that
    counting needs no lock.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._held = _Held(snapshot)
        self._retired: set[_Held] = set()

    @property
    def snapshot(self) -> Snapshot:
        """The newest one, for use before the next await only."""
        return self._held.snapshot

    @contextmanager
    def lease(self) -> Iterator[Snapshot]:
        """The newest snapshot, which stays open as long as the block runs, whatever is swapped in meanwhile."""
        held = self._held
        held.leases += 1
        try:
            yield held.snapshot
        finally:
            held.leases -= 1
            if held in self._retired:
                self._close_if_unused(held)

    def swap(self, snapshot: Snapshot) -> None:
        """Serve another snapshot from the next call on."""
        old, self._held = self._held, _Held(snapshot)
        self._retired.add(old)
        self._close_if_unused(old)

    @property
    def generations(self) -> list[int]:
        """The generations that are in memory, the newest last."""
        held = [*self._retired, self._held]
        return sorted(one.snapshot.generation for one in held)

    def _close_if_unused(self, held: _Held) -> None:
        if held.leases == 0:
            self._retired.remove(held)
            held.snapshot.close()
            log.info("generation %d is no longer in use and was closed", held.snapshot.generation)

    def close(self) -> None:
        """Close the newest snapshot, too; the server must have stopped."""
        for held in [*self._retired, self._held]:
            held.snapshot.close()


class _Held:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.leases = 0
