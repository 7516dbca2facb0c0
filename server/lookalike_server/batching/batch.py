"""Putting a batch together: which of the entries that are offered go into it, whole or in pieces."""

from __future__ import annotations

import math
from typing import Generic

from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.waiting import Entry, Piece, R, Rules, W

# What costs so many times as much as the first of a batch is heavy beside it.
_HEAVY = 8
# Until one was measured, a piece is no larger than this part of the largest batch.
_UNMEASURED = 1 / 16
# Later, the cost of a piece is no more than so many times the largest that was measured.
_GROWTH = 8
# A piece that fills a batch is at least this part of the largest: each is a call of its own.
_LEAST_PIECE = 1 / 16


class BatchMaker(Generic[W, R]):
    """Takes entries in the order of their turns.

    The first is taken for as much as a batch may be, and so are others that
    cost about as much. What is far heavier than the first joins by the piece
    with which the batch takes twice as long at the most: a light call should
    not pay for a heavy one's company, which has turns of its own.
    """

    def __init__(self, rules: Rules[W], latency: LatencyModel) -> None:
        self._rules = rules
        self._latency = latency
        self._first = 0.0
        self.pieces: list[Piece[W, R]] = []
        self.size = 0
        self.cost = 0.0
        # The cost that a batch may have, if it is of more than one unit.
        self.largest = latency.within(min(rules.max_age / 2, rules.cut_to))

    @property
    def full(self) -> bool:
        """Whether no further entry can join."""
        return self.size >= self._rules.max_batch or self.cost >= self.largest

    def offer(self, entry: Entry[W, R]) -> Piece[W, R] | None:
        """What goes into the batch of an entry; None where nothing does."""
        units = self._units(entry) if self.pieces else self._first_units(entry)
        if units is None:
            return None
        if not self.pieces:
            self._first = entry.left * entry.each
        piece = Piece(entry, entry.taken, entry.taken + units)
        self.pieces.append(piece)
        self.size += units
        self.cost += units * entry.each
        return piece

    def _first_units(self, entry: Entry[W, R]) -> int:
        if self._rules.cut is None:
            return entry.left
        return min(entry.left, max(1, self._room(entry, self._largest_cut())))

    def _units(self, entry: Entry[W, R]) -> int | None:
        if entry.key != self.pieces[0].entry.key:
            return None
        cost = entry.left * entry.each
        heavy = self._rules.cut is not None and cost > _HEAVY * self._first
        most = min(self.largest, self._latency.doubling(self._first)) if heavy else self.largest
        room = self._room(entry, most)
        if entry.left <= room:
            return entry.left
        large = entry.left > self._rules.max_batch or cost > self.largest
        if self._rules.cut is None or not (heavy or large):
            return None
        room = min(room, self._room(entry, self._largest_cut()))
        return room if room >= max(1, self._rules.max_batch * _LEAST_PIECE) else None

    def _largest_cut(self) -> float:
        """The cost that a batch may have that holds a piece."""
        return min(self.largest, _GROWTH * self._latency.largest or math.inf)

    def _room(self, entry: Entry[W, R], most: float) -> int:
        """The units of an entry that the batch has room for, if it may cost so much."""
        by_size = self._rules.max_batch - self.size
        if not self._latency.largest and self._rules.cut is not None:
            by_size = min(by_size, max(1, int(self._rules.max_batch * _UNMEASURED)))
        by_cost = (most - self.cost) / entry.each if entry.each else math.inf
        return max(0, by_size if by_cost >= by_size else int(by_cost))
