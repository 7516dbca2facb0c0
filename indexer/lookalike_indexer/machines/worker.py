"""A worker: a process that Ray starts on a machine of a cluster. It takes items from a queue, and yields results."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lookalike_indexer.machines.work import Failed, Work

# Seconds between two reports of one item: each costs the driver about a millisecond.
_REPORT_S = 1.0


@dataclass(frozen=True)
class Report:
    """What a worker has done since its last report.

    `done` says that it finished an item, whose result this is; `wants` that it
    will soon have no more items, and waits to be fed or ended.
    """

    advanced: int
    done: bool = False
    result: Any = None
    wants: bool = False


@dataclass(frozen=True)
class _Wants:
    """Stands among the results where the work asked for more items."""


class Worker:
    """Does one kind of work for as long as it lives, while others feed it items."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        """`environment` is set before any library reads it: numbers of threads above all."""
        os.environ.update(environment)
        self._name = name
        self._items: queue.SimpleQueue[tuple[Any] | None] = queue.SimpleQueue()
        # Results wait here until the driver has taken those before: a worker runs ahead by one.
        self._results: queue.Queue[tuple[Any] | _Wants | Failed | None] = queue.Queue(1)
        self._asked = False
        self._advanced = 0
        self._lock = threading.Lock()

    def feed(self, items: Sequence[Any]) -> None:
        """Add items to the queue; only after a report that wants them, since Ray may change the order of calls."""
        self._asked = False
        for item in items:
            self._items.put((item,))

    def end(self) -> None:
        """End the work after the items that were fed, when a report wants more."""
        self._items.put(None)

    def work(self, make: Callable[[], Work[Any, Any]]) -> Iterator[Report | Failed]:
        """Do what `make` makes to all items; yields reports, and what failed as the last one."""
        threading.Thread(target=self._run, args=(make,), name="work", daemon=True).start()
        while True:
            try:
                entry = self._results.get(timeout=_REPORT_S)
            except queue.Empty:
                if advanced := self._taken():
                    yield Report(advanced)
                continue
            if entry is None:
                return
            if isinstance(entry, Failed):
                yield entry
                return
            yield (
                Report(self._taken(), wants=True)
                if isinstance(entry, _Wants)
                else Report(self._taken(), True, entry[0])
            )

    def _run(self, make: Callable[[], Work[Any, Any]]) -> None:
        try:
            for result in make()(self._fed(), self._advance):
                self._results.put((result,))
            self._results.put(None)
        except Exception as error:  # whatever it is, the driver must hear of it
            self._results.put(Failed.of(self._name, error))

    def _fed(self) -> Iterator[Any]:
        while True:
            # Asked before the last one is begun, so that the answer is there in time. Work that reads ahead takes as
            # many items as it needs to finish one: how many, only it knows.
            if self._items.qsize() <= 1 and not self._asked:
                self._asked = True
                self._results.put(_Wants())
            if (entry := self._items.get()) is None:
                return
            yield entry[0]

    def _advance(self, amount: int) -> None:
        with self._lock:
            self._advanced += amount

    def _taken(self) -> int:
        with self._lock:
            taken, self._advanced = self._advanced, 0
        return taken
