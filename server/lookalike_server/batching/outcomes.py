"""Outcomes of a batch: one answer for each finished request, joined from all its pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from lookalike_server.batching.waiting import Answer, Entry, Inbox, Piece, R, W

# Joins the results of a request's pieces, in order, into one result.
Join = Callable[[Sequence[R]], R]
Outcome = tuple[Entry[W, R], Answer[R] | Exception]


@dataclass(frozen=True)
class FinishedBatch(Generic[W, R]):
    """A batch that a worker ran, from `started` for `took` seconds, with a result or error for each piece."""

    worker: str
    pieces: Sequence[Piece[W, R]]
    results: Sequence[R | Exception]
    started: float
    took: float

    @property
    def size(self) -> int:
        """Size of the batch in the units of its requests."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    @property
    def waits(self) -> list[float]:
        """Seconds that each request had waited."""
        return [self.started - piece.entry.queued for piece in self.pieces]

    def outcomes(self, join: Join[R] | None) -> list[Outcome[W, R]]:
        """Return the outcomes of requests that wait for no further piece. Not thread-safe."""
        found: list[Outcome[W, R]] = []
        for piece, result in zip(self.pieces, self.results, strict=True):
            if isinstance(result, Exception):
                found.append((piece.entry, result))
            elif piece.whole:
                found.append((piece.entry, self._answer(piece.entry, result, self.took, self.size)))
            elif join is not None and self._is_last(piece, result):
                entry = piece.entry
                parts = [part for _, (_, part) in sorted(entry.parts.items())]
                found.append((entry, self._answer(entry, join(parts), entry.ran, entry.largest)))
        return found

    def _is_last(self, piece: Piece[W, R], result: R) -> bool:
        """Store the result of a piece. Return True if it completes the request."""
        entry = piece.entry
        entry.parts[piece.start] = piece.stop - piece.start, result
        entry.ran += self.took
        entry.largest = max(entry.largest, self.size)
        return sum(units for units, _ in entry.parts.values()) == entry.size

    def _answer(self, entry: Entry[W, R], result: R, ran: float, largest: int) -> Answer[R]:
        # Several workers may have run pieces at the same time.
        waited = max(0.0, self.started + self.took - entry.queued - ran)
        return Answer(result, self.worker, largest, _us(waited), _us(ran))


def settle(outcomes: Sequence[tuple[Entry[Any, Any], Any]]) -> None:
    """Deliver outcomes to their inboxes, with one `put` per inbox."""
    answers: dict[int, tuple[Inbox, list[tuple[int, Any]]]] = {}
    for entry, outcome in outcomes:
        answers.setdefault(id(entry.inbox), (entry.inbox, []))[1].append((entry.ticket, outcome))
    for inbox, theirs in answers.values():
        inbox.put(theirs)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
