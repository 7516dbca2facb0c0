"""Leases of the served snapshot, and of older ones that calls in flight still use."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lookalike_indexer.errors import DeviceError, NotBuiltError
from lookalike_server.common import call_record as record
from lookalike_server.generation.snapshot import Snapshot

log = logging.getLogger(__name__)

# A call waits this long for a change that it requires, and checks this often.
_REACHED_S = 0.5
_REACHED_LOOK_S = 0.01
# Largest number of states that are kept while their pages are being read.
_KEPT = 32


class Current:
    """Holder of the newest snapshot. An older one is closed when its last lease ends.

    Everything happens in the event loop's thread, between two awaits, so counting needs no lock.
    Without a snapshot, `problem` says why.
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._held = None if snapshot is None else _HeldGeneration(snapshot.base, snapshot)
        self.problem = ""
        self._retired: set[_HeldGeneration] = set()
        # Decides whether to keep a generation that is no longer the newest and that no call of this server leases.
        self.keeps: Callable[[Snapshot], bool] = lambda snapshot: False
        self._numbers = itertools.count()

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot, valid only until the next await. Raises DeviceError if there is none."""
        return self._loaded().view

    @property
    def newest(self) -> Snapshot | None:
        """Like `snapshot`, but None if there is none. Thread-safe."""
        held = self._held
        return None if held is None else held.view

    def view_of(self, generation: Snapshot) -> Snapshot | None:
        """Return a generation with the last changes to it that were served, or None if it is not in memory."""
        return next((held.view for held in self._all() if held.snapshot is generation), None)

    def publish(self, view: Snapshot) -> None:
        """Serve the newest generation with further changes from the next call on. Thread-safe."""
        held = self._held
        if held is not None and view.base is held.snapshot:
            held.view = view

    async def reached(self, sequence: int) -> None:
        """Wait briefly until the change with this sequence is served.

        Raises DeviceError if it is not served in time.
        """
        until = time.monotonic() + _REACHED_S
        while self.snapshot.sequence < sequence:
            if time.monotonic() > until:
                raise DeviceError(
                    f"This server has the changes up to {self.snapshot.sequence}, and the call requires {sequence}; "
                    "retry the call."
                )
            await asyncio.sleep(_REACHED_LOOK_S)

    def retain(self, view: Snapshot) -> None:
        """Keep a leased snapshot for further leases by its sequence. Only the last few are kept."""
        held = self._held
        if held is not None and view.base is held.snapshot:
            held.kept[view.sequence] = view
            held.kept.move_to_end(view.sequence)
            if len(held.kept) > _KEPT:
                held.kept.popitem(last=False)

    @contextmanager
    def lease(self, sequence: int | None = None) -> Iterator[Snapshot]:
        """Lease the newest snapshot: it stays open while the block runs, even if another one is swapped in.

        With `sequence`, lease the snapshot with the changes up to it, if it is still kept. Raises
        DeviceError if there is none.
        """
        held = self._loaded()
        with self._leased(held):
            yield held.view if sequence is None else held.kept.get(sequence, held.view)

    @contextmanager
    def lease_of(self, made: str) -> Iterator[Snapshot]:
        """Lease the generation whose manifest has the digest `made`. Raises NotBuiltError if it is not in memory."""
        held = next((one for one in self._all() if one.snapshot.made == made), None)
        if held is None:
            raise NotBuiltError(
                f"This server does not have the generation {made[:12]}; it has: "
                f"{', '.join(str(number) for number in self.generations) or 'none'}."
            )
        with self._leased(held):
            yield held.snapshot

    @contextmanager
    def _leased(self, held: _HeldGeneration) -> Iterator[None]:
        number, call = next(self._numbers), record.current()
        held.leases[number] = _Lease(time.monotonic(), "" if call is None else f"{call.rpc} {call.request_id}")
        try:
            yield
        finally:
            del held.leases[number]
            if held in self._retired:
                self._close_if_unused(held)

    def close_unused(self) -> None:
        """Close generations that were kept and are no longer needed."""
        for held in list(self._retired):
            self._close_if_unused(held)

    def swap(self, snapshot: Snapshot) -> None:
        """Serve another generation from the next call on, with the changes that `snapshot` contains."""
        if self._held is not None and self._held.snapshot is snapshot.base:
            # The same generation with other changes.
            self._held.view = snapshot
            return
        old, self._held = self._held, _HeldGeneration(snapshot.base, snapshot)
        self.problem = ""
        if old is not None:
            self._retired.add(old)
            self._close_if_unused(old)

    def withdraw(self) -> None:
        """Serve no generation from the next call on."""
        old, self._held = self._held, None
        if old is not None:
            self._retired.add(old)
            self._close_if_unused(old)

    def hold(self) -> Callable[[], None]:
        """Keep the newest generation open until the returned function is called. Not reported as a lease."""
        held = self._loaded()
        held.holders += 1

        def let_go() -> None:
            held.holders -= 1
            if held in self._retired:
                self._close_if_unused(held)

        return let_go

    @property
    def snapshots(self) -> list[Snapshot]:
        """Snapshots in memory, the newest last."""
        return [one.snapshot for one in self._all()]

    @property
    def generations(self) -> list[int]:
        """Generations in memory, the newest last."""
        return sorted(snapshot.generation for snapshot in self.snapshots)

    @property
    def oldest_lease_s(self) -> float:
        """Seconds for which the oldest lease has been held; 0 if there is none. Thread-safe."""
        # Each copy is one step of the interpreter, so no other thread can intervene.
        leases = [lease for held in self._all() for lease in list(held.leases.values())]
        return max((time.monotonic() - lease.since for lease in leases), default=0.0)

    def report(self, limit_s: float) -> None:
        """Log each lease that has been held for longer than `limit_s`, once."""
        now = time.monotonic()
        for held in self._all():
            for lease in held.leases.values():
                # The oldest come first.
                if now - lease.since <= limit_s:
                    break
                if not lease.told:
                    lease.told = True
                    log.warning(
                        "%s has held generation %d for longer than %g s; it stays in memory until its release",
                        lease.by or "the server itself", held.snapshot.generation, limit_s,
                    )  # fmt: skip

    def _all(self) -> list[_HeldGeneration]:
        held = self._held
        return [*list(self._retired), *([] if held is None else [held])]

    def _loaded(self) -> _HeldGeneration:
        held = self._held
        if held is None:
            raise DeviceError(f"This collection is not loaded: {self.problem}")
        return held

    def _close_if_unused(self, held: _HeldGeneration) -> None:
        if not held.leases and not held.holders and not self.keeps(held.snapshot):
            self._retired.remove(held)
            held.snapshot.close()
            log.info("generation %d is no longer in use and was closed", held.snapshot.generation)

    def close(self) -> None:
        """Close all snapshots, including the newest. Call it after the server has stopped."""
        for held in self._all():
            held.snapshot.close()


@dataclass(eq=False)
class _HeldGeneration:
    """A generation, its served changes, kept earlier states by sequence, and its leases by number.

    `holders` is how many `Current.hold` calls keep it open.
    """

    snapshot: Snapshot
    view: Snapshot
    kept: OrderedDict[int, Snapshot] = field(default_factory=OrderedDict)
    leases: dict[int, _Lease] = field(default_factory=dict)
    holders: int = 0


@dataclass
class _Lease:
    """A lease since `since`, in the time of `time.monotonic`, held by the call `by`. `told`: it was logged."""

    since: float
    by: str
    told: bool = False
