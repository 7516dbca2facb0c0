"""Worker: a process that Ray starts on a machine of a cluster. It takes items from a queue, and yields results."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lookalike_indexer.machines.work import Failed, Work

# The minimum seconds between two reports of one item: each costs the driver about a millisecond.
_REPORT_S = 1.0


@dataclass(frozen=True)
class Report:
    """The progress of a worker since its last report.

    `done` means that it finished an item with this result; `wants` that it will soon run out of items, and waits for
    more or for the end.
    """

    advanced: int
    done: bool = False
    result: Any = None
    wants: bool = False


@dataclass(frozen=True)
class _WorkRequest:
    """A marker among the results: the work requested more items."""


class Worker:
    """Runs one kind of work for its lifetime, while the driver feeds it items."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        """Set the environment before any library reads it, in particular numbers of threads."""
        os.environ.update(environment)
        self._name = name
        self._items: queue.SimpleQueue[tuple[Any] | None] = queue.SimpleQueue()
        # Results wait here until the driver has taken the previous ones: a worker runs ahead by one.
        self._results: queue.Queue[tuple[Any] | _WorkRequest | Failed | None] = queue.Queue(1)
        self._asked = False
        self._advanced = 0
        self._lock = threading.Lock()

    def feed(self, items: Sequence[Any]) -> None:
        """Add items to the queue; call it only after a report that requests them, because Ray may reorder calls."""
        self._asked = False
        for item in items:
            self._items.put((item,))

    def end(self) -> None:
        """Finish after the fed items; call it when a report requests more."""
        self._items.put(None)

    def work(self, make: Callable[[], Work[Any, Any]]) -> Iterator[Report | Failed]:
        """Run the function from `make` on all items; yield reports, and an error as the last one."""
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
                if isinstance(entry, _WorkRequest)
                else Report(self._taken(), True, entry[0])
            )

    def _run(self, make: Callable[[], Work[Any, Any]]) -> None:
        try:
            for result in make()(self._fed(), self._advance):
                self._results.put((result,))
            self._results.put(None)
        except Exception as error:  # any exception must reach the driver
            self._results.put(Failed.of(self._name, error))

    def _fed(self) -> Iterator[Any]:
        while True:
            # Request more before the last item begins, so that they arrive in time. Work that reads ahead takes a
            # number of items that only it knows.
            if self._items.qsize() <= 1 and not self._asked:
                self._asked = True
                self._results.put(_WorkRequest())
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
