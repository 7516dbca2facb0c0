"""Batch assembly: which queued entries join a batch, whole or in pieces."""

from __future__ import annotations

import math
from typing import Generic

from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.waiting import Entry, Piece, R, Rules, W

# An entry is heavy if it costs more than this many times as much as the batch's first entry.
_HEAVY = 8
# Before the first measurement, a piece has at most this share of `max_batch`.
_UNMEASURED = 1 / 16
# After it, a batch with a piece costs at most this many times the largest cost measured so far.
_GROWTH = 8
# A piece that fills up a batch has at least this share of `max_batch`, because each piece is a call of its own.
_LEAST_PIECE = 1 / 16


class BatchMaker(Generic[W, R]):
    """Builder of one batch; takes entries in the order of fair.py.

    The first entry may fill the batch, and so may others of about the same cost. A far heavier
    entry joins only with a piece that at most doubles the batch's duration. So a light call does
    not wait for a heavy one, which gets turns of its own.
    """

    def __init__(self, rules: Rules[W], latency: LatencyModel) -> None:
        self._rules = rules
        self._latency = latency
        self._first = 0.0
        self.pieces: list[Piece[W, R]] = []
        self.size = 0
        self.cost = 0.0
        # Largest cost of a batch of more than one unit.
        self.largest = latency.within(min(rules.max_age / 2, rules.cut_to))

    @property
    def full(self) -> bool:
        """True if no further entry can join."""
        return self.size >= self._rules.max_batch or self.cost >= self.largest

    def offer(self, entry: Entry[W, R]) -> Piece[W, R] | None:
        """Add as much of the entry as fits and return that piece, or None if nothing fits."""
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
        """Return the largest cost of a batch that holds a piece."""
        return min(self.largest, _GROWTH * self._latency.largest or math.inf)

    def _room(self, entry: Entry[W, R], most: float) -> int:
        """Return how many units of an entry fit into the batch if the batch may cost `most`."""
        by_size = self._rules.max_batch - self.size
        if not self._latency.largest and self._rules.cut is not None:
            by_size = min(by_size, max(1, int(self._rules.max_batch * _UNMEASURED)))
        by_cost = (most - self.cost) / entry.each if entry.each else math.inf
        return max(0, by_size if by_cost >= by_size else int(by_cost))
