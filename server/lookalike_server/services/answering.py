"""Queueing of searches at engines. The replies of all answers that arrive together are written together."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

from lookalike_indexer.arrays import Float32
from lookalike_server.batching import callers
from lookalike_server.batching.awaited import Arrived, LoopInbox
from lookalike_server.batching.batcher import Answer
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.columns.space_images import SpaceImages
from lookalike_server.generation.spaces import Space
from lookalike_server.query.distinct import Distinct
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits
from lookalike_server.services.reply_writer import PIECE, ReplySpec, write_batch


class Answered(NamedTuple):
    """An engine's answer, with one row of hits for each query, and the reply, or None if it is large.

    `reply_s` is the seconds that writing the replies of the whole batch took.
    """

    answer: Answer[Hits]
    reply: bytes | None
    reply_s: float


class _Call(NamedTuple):
    """A call that waits. `lines` maps its queries to rows of the hits; None if each query has its own row."""

    spec: ReplySpec
    images: SpaceImages
    lines: list[int] | None
    answered: asyncio.Future[Answered]


class Answering:
    """Searches of one event loop that wait for engines, by ticket."""

    def __init__(self) -> None:
        self._inbox: LoopInbox | None = None
        self._calls: dict[int, _Call] = {}
        self._tickets = itertools.count()
        # Answers whose replies have not been written yet.
        self._ready: list[tuple[_Call, Answer[Hits]]] = []

    async def search(
        self,
        space: Space,
        vectors: Float32,
        distinct: Distinct,
        plan: Plan,
        mask: RowMask | None,
        deadline: float | None,
        spec: ReplySpec,
    ) -> Answered:
        """Search for the neighbors of vectors (n, dim). Equal vectors are searched once.

        Raises OverloadedError, ExpiredError, or DeviceError as Engine.put does. A canceled call
        leaves the queue.
        """
        lines = None
        if not distinct.all:
            vectors, lines = vectors[distinct.first], distinct.inverse
        answered = await self._asked(space, vectors, plan, mask, deadline, spec, lines)
        if not answered.answer.result.complete:
            plan = dataclasses.replace(plan, scan=True)
            answered = await self._asked(space, vectors, plan, mask, deadline, spec, lines)
        return answered

    async def _asked(
        self,
        space: Space,
        vectors: Float32,
        plan: Plan,
        mask: RowMask | None,
        deadline: float | None,
        spec: ReplySpec,
        lines: list[int] | None,
    ) -> Answered:
        inbox = self._inbox
        if inbox is None:
            inbox = self._inbox = LoopInbox(self._arrived)
        engine, ticket = space.engine, next(self._tickets)
        call = self._calls[ticket] = _Call(spec, space.images, lines, inbox.loop.create_future())
        try:
            queued = engine.put(vectors, spec.search_k, plan, mask, ticket, inbox, callers.peer(), deadline)
            try:
                return await call.answered
            except asyncio.CancelledError:
                # Only a canceled call ends without an answer, so the search may still be queued.
                engine.withdraw(queued)
                raise
        finally:
            self._calls.pop(ticket, None)

    def _arrived(self, answers: Arrived) -> None:
        """Answer the calls of a batch, or schedule the writing of their replies."""
        idle = not self._ready
        for ticket, outcome in answers:
            call = self._calls.get(ticket)
            if call is None or call.answered.done():
                continue
            if isinstance(outcome, Exception):
                call.answered.set_exception(outcome)
                continue
            answer = outcome if call.lines is None else _spread(outcome, call.lines)
            if call.spec.is_large or not answer.result.complete:
                call.answered.set_result(Answered(answer, None, 0))
            else:
                self._ready.append((call, answer))
        if idle and self._ready:
            # Scheduled after other batches that have arrived, so that a busy loop writes their replies together.
            self._soon()

    def _write(self) -> None:
        """Write some short replies together, and the others after the event loop has run other tasks."""
        count = _together([call for call, _ in self._ready])
        some, self._ready = self._ready[:count], self._ready[count:]
        began = time.perf_counter()
        try:
            replies = write_batch(
                some[0][0].images, [answer.result for _, answer in some], [call.spec for call, _ in some]
            )
        except Exception as error:
            # Any error must reach the callers that wait.
            _fail([call for call, _ in some], error)
        else:
            took = time.perf_counter() - began
            for (call, answer), reply in zip(some, replies, strict=True):
                if not call.answered.done():
                    call.answered.set_result(Answered(answer, reply, took))
        if self._ready:
            self._soon()

    def _soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._write)


def _spread(answer: Answer[Hits], lines: list[int]) -> Answer[Hits]:
    """Return an answer with hits for each query, from those of the distinct queries."""
    hits = answer.result
    return answer._replace(result=hits._replace(rows=hits.rows[lines], distances=hits.distances[lines]))


def _together(calls: Sequence[_Call]) -> int:
    """Return how many of the first calls to write at once: of one space, with at most PIECE neighbors."""
    size = 0
    for count, call in enumerate(calls):
        size += call.spec.neighbors
        if count and (size > PIECE or call.images is not calls[0].images):
            return count
    return len(calls)


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    for call in calls:
        if not call.answered.done():
            call.answered.set_exception(error)
