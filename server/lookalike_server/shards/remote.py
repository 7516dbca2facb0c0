"""An index and its embeddings on shards, searched like local ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_server.placement.facts import Facts
from lookalike_server.placement.first_stage import least
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.reranked import MOST_CANDIDATES, MOST_REFINED
from lookalike_server.placement.share import Candidates, ShareFacts
from lookalike_server.placement.strategies import RawHits, by_distance, cut_through_a_tie, padded
from lookalike_server.search.share_engine import Found, ShareWork
from lookalike_server.shards.messages import parse_hits, request_message
from lookalike_server.shards.replica import Replica
from lookalike_server.shards.shard_call import call_shards
from lookalike_server.shards.shard_set import ShardSet

# Largest number of rows of one shard's answer, of up to 16 bytes each, and of mask bits in one request.
_MOST_ANSWERED, _MOST_BITS = 1 << 21, 1 << 28


class RemoteSpace:
    """A space of one generation, identified by its digest, on shards."""

    def __init__(self, shards: ShardSet, digest: str, space: str) -> None:
        self._shards = shards
        self._digest = digest
        self._space = space
        shards.use(digest)
        self._is_left = False

    @property
    def problem(self) -> str:
        """Why it cannot be searched now; "" if it can."""
        return self._shards.problem(self._digest)

    def each(self, work: ShareWork, timeout: float | None = None) -> list[Found]:
        """Return each shard's result.

        Raises ShardLostError if one does not answer, and OverloadedError as call_shards does.
        """
        return self._call_shards(work, self._shards.shards, timeout)

    def any(self, work: ShareWork) -> Found:
        """Return the result of one shard, for an index that each of them holds whole."""
        return self._call_shards(work, [self._shards.replicas], None)[0]

    def leave(self) -> None:
        """Let the shards release the generation."""
        if not self._is_left:
            self._is_left = True
            self._shards.leave(self._digest)

    def _call_shards(self, work: ShareWork, groups: Sequence[Sequence[Replica]], timeout: float | None) -> list[Found]:
        collection = self._shards.settings.collection

        @cache
        def message(bits: bool) -> bytes:
            return request_message(self._digest, self._space, collection, work, bits=bits).SerializeToString()

        usual = self._shards.settings.timeout_ms / 1000
        answers = call_shards(self._shards, groups, self._digest, message, timeout or usual, hedged=timeout is None)
        return [parse_hits(answer) for answer in answers]


class RemoteSearcher:
    """An index on shards, as a Searcher. Several may search one space at a time."""

    def __init__(self, name: str, space: RemoteSpace, facts: ShareFacts) -> None:
        self.name = name
        self.dim = facts.dim
        self.depends_on_k = facts.depends_on_k
        self._facts = facts
        self._space = space

    def search(
        self, queries: Float32, k: int, nprobe: int, wanted: Int64 | None = None, masks: QueryMasks | None = None
    ) -> RawHits:
        needs = np.full(len(queries), k, np.int64) if wanted is None else wanted
        work = ShareWork(queries, k, nprobe, needs, masks)
        width = k
        if self._facts.mode == "candidates":
            width = max(math.ceil(k * self._facts.factor), self._facts.least)
            width *= 1 if masks is None else MOST_CANDIDATES
        return _in_pieces(work, width, self._merged_hits)

    def close(self) -> None:
        self._space.leave()

    def _merged_hits(self, work: ShareWork) -> RawHits:
        if self._facts.mode == "whole":
            return _hits(self._space.any(work))
        if self._facts.mode == "rows":
            return nearest([_hits(found) for found in self._space.each(work)], work.k)
        return self._best(work)

    def _best(self, work: ShareWork) -> RawHits:
        """Return the k nearest among the best candidates of all shards, as Reranked does."""
        answers = [_candidates(found) for found in self._space.each(work)]
        sizes, k = answers[0].sizes.copy(), work.k
        rows, distances, tied = _chosen(answers, sizes, k)
        most = np.minimum(self._facts.rows, np.maximum(sizes, MOST_REFINED))
        # More copies than requested candidates: those of the lowest rows may be missing.
        while len(tied := tied[sizes[tied] < most[tied]]):
            sizes[tied] = np.minimum(4 * sizes[tied], most[tied])
            again = []
            for size in np.unique(sizes[tied]).tolist():
                lines = tied[sizes[tied] == size]
                more = [_candidates(one) for one in self._space.each(_part(work, lines)._replace(candidates=size))]
                rows[lines], distances[lines], still = _chosen(more, sizes[lines], k)
                again.append(lines[still])
            tied = np.concatenate(again)
        facts = [found.facts for found in answers if found.facts is not None]
        effort = np.max([found.effort for found in answers], axis=0)
        return RawHits(rows, distances, effort, Facts.of_shards(facts) if facts else None)


class RemoteScan:
    """The stored embeddings on shards, compared exactly, as a Scan. A batch may take up to `timeout` seconds."""

    def __init__(self, space: RemoteSpace, timeout: float) -> None:
        self._space = space
        self._timeout = timeout

    def __call__(self, queries: Float32, k: int, masks: QueryMasks | None) -> tuple[Int64, Float32]:
        work = ShareWork(queries, k, 0, np.full(len(queries), k, np.int64), masks, scan=True)
        found = _in_pieces(
            work, k, lambda part: nearest([_hits(one) for one in self._space.each(part, self._timeout)], k)
        )
        return found.rows, found.distances


def nearest(found: Sequence[RawHits], k: int) -> RawHits:
    """Return the k nearest of all shards' results, by (distance, row)."""
    rows = np.concatenate([one.rows for one in found], axis=1)
    distances = np.concatenate([one.distances for one in found], axis=1)
    rows, distances = by_distance(rows, distances)
    effort = np.max([one.effort for one in found], axis=0)
    facts = [one.facts for one in found if one.facts is not None]
    return RawHits(rows[:, :k], distances[:, :k], effort, Facts.of_shards(facts) if facts else None)


def _chosen(answers: Sequence[Candidates], sizes: Int64, k: int) -> tuple[Int64, Float32, Int64]:
    """Return the k nearest of each query's `sizes` (n,) best candidates, and the queries tied at the k-th place."""
    rows = np.concatenate([one.rows for one in answers], axis=1)
    distances = np.concatenate([one.distances for one in answers], axis=1)
    costs = np.concatenate([one.costs for one in answers], axis=1)
    found, away = np.full((len(rows), k), -1, np.int64), np.full((len(rows), k), np.inf, np.float32)
    tied = []
    for size in np.unique(sizes).tolist():
        lines = np.flatnonzero(sizes == size)
        places = least(rows[lines], costs[lines], size)
        some, theirs = by_distance(
            np.take_along_axis(rows[lines], places, axis=1), np.take_along_axis(distances[lines], places, axis=1)
        )
        found[lines], away[lines] = padded(some[:, :k], theirs[:, :k], k)
        tied.append(lines[cut_through_a_tie(some, theirs, k)])
    return found, away, np.sort(np.concatenate(tied))


def _part(work: ShareWork, lines: Int64) -> ShareWork:
    """Return the request with some of its queries."""
    if len(lines) == work.size:
        return work
    masks = work.masks
    if masks is not None:
        used, numbers = np.unique(masks.numbers[lines], return_inverse=True)
        masks = QueryMasks(tuple(masks.masks[number] for number in used.tolist()), numbers.astype(np.int64))
    return work._replace(queries=np.ascontiguousarray(work.queries[lines]), wanted=work.wanted[lines], masks=masks)


def _in_pieces(work: ShareWork, width: int, search: Callable[[ShareWork], RawHits]) -> RawHits:
    """Search some queries at a time, so that no message is too large, and join the results.

    A reply has `width` rows per query.
    """
    together = max(1, _MOST_ANSWERED // max(1, width))
    groups = np.zeros(work.size, np.int64)
    if work.masks is not None:
        groups = work.masks.numbers // max(1, _MOST_BITS // max(1, len(work.masks.masks[0])))
    pieces = [
        lines[start : start + together]
        for group in np.unique(groups).tolist()
        for lines in (np.flatnonzero(groups == group),)
        for start in range(0, len(lines), together)
    ]
    if len(pieces) == 1:
        return search(work)
    parts = [search(_part(work, lines)) for lines in pieces]
    order = np.argsort(np.concatenate(pieces))
    facts = [one.facts for one in parts if one.facts is not None]
    return RawHits(
        np.concatenate([one.rows for one in parts])[order],
        np.concatenate([one.distances for one in parts])[order],
        np.concatenate([one.effort for one in parts])[order],
        Facts.joined(facts).at(order) if facts else None,
    )


def _hits(found: Found) -> RawHits:
    if not isinstance(found, RawHits):
        raise ValueError("a shard gave candidates where neighbors were asked for")
    return found


def _candidates(found: Found) -> Candidates:
    if not isinstance(found, Candidates):
        raise ValueError("a shard gave neighbors where candidates were asked for")
    return found
