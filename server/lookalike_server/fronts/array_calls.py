"""Engine process's part of calls that fronts answer themselves: searches of arrays, by ticket."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lookalike_server.batching.awaited import Arrived, LoopInbox
from lookalike_server.batching.waiting import Answer
from lookalike_server.common import visible
from lookalike_server.common.errors import Refusal
from lookalike_server.common.peers import host_of
from lookalike_server.fronts.array_messages import ArrayCall, ArraySearch, encode_answer
from lookalike_server.fronts.frames import Frames, Kind
from lookalike_server.fronts.messages import ForwardedReply
from lookalike_server.fronts.shares import Share, Shares
from lookalike_server.search.hits import Hits
from lookalike_server.search.search_engine import Queued, SearchEngine
from lookalike_server.services.auditing import offer_to_audit
from lookalike_server.transport.interceptors import Errors


@dataclass(eq=False)
class FrontCall:
    """A call that a front answers from a generation. `searches` are its searches, by the front's ticket."""

    inbox: FrontInbox
    asked: ArrayCall
    share: Share
    searches: dict[int, Search] = field(default_factory=dict)

    @property
    def peer(self) -> str:
        """Peer that the call counts for; see callers.py."""
        return f"token {self.asked.caller}" if self.asked.caller else host_of(self.asked.peer)


@dataclass(eq=False, slots=True)
class Search:
    """A search. `queued` is its place in the engine's queue. `answer` is kept for the audit, if there is one."""

    call: FrontCall
    asked: ArraySearch
    queued: tuple[SearchEngine, Queued] | None = None
    is_answered: bool = False
    answer: Answer[Hits] | None = None


class FrontInbox:
    """Inbox of the searches of one front. It sends answers in the thread that has them, and errors in the event loop.

    `searches` are those whose calls have not ended, by the front's ticket.
    """

    def __init__(self, link: Frames, failed: Callable[[Search, int, Exception], None]) -> None:
        self.link = link
        self.searches: dict[int, Search] = {}
        self._failed = failed
        self._errors = LoopInbox(self._fail)

    def put(self, answers: Arrived) -> None:
        """Send answers to the front. Thread-safe."""
        found: list[tuple[int, tuple[bytes, ...]]] = []
        errors: list[tuple[int, Answer[Any] | Exception]] = []
        for ticket, outcome in answers:
            search = self.searches.get(ticket)
            if search is None:
                continue
            search.is_answered = True
            if isinstance(outcome, Exception):
                errors.append((ticket, outcome))
                continue
            if search.call.share.collection.audit is not None:
                search.answer = outcome
            try:
                found.append((ticket, encode_answer(outcome)))
            except Exception as error:
                # The search thread must survive it, because other calls wait for their answers.
                errors.append((ticket, error))
        if found:
            self.link.send_now(Kind.FOUND, found)
        if errors:
            self._errors.put(errors)

    def _fail(self, answers: Arrived) -> None:
        for ticket, outcome in answers:
            search = self.searches.get(ticket)
            if search is not None and isinstance(outcome, Exception):
                self._failed(search, ticket, outcome)


class ArrayCalls:
    """Runs the searches of calls that fronts answer. `roots` are the folders to hide from some callers."""

    def __init__(self, shares: Shares, errors: Errors, roots: visible.Roots) -> None:
        self._shares, self._errors, self._roots = shares, errors, roots

    def inbox(self, link: Frames) -> FrontInbox:
        """Return the inbox of a new front."""
        return FrontInbox(link, self._fail)

    def opened(self, inbox: FrontInbox, asked: ArrayCall) -> FrontCall | None:
        """Open a call on a generation that fronts have.

        Return None if the call must be answered from what the engine process serves now.
        """
        share = self._shares.by_number.get(asked.generation)
        return None if share is None or not share.is_current else FrontCall(inbox, asked, share)

    def find(self, call: FrontCall, ticket: int, body: bytes) -> None:
        """Queue a search of a call. Its outcome is sent with the front's ticket."""
        asked = ArraySearch.decoded(body)
        search = call.searches[ticket] = call.inbox.searches[ticket] = Search(call, asked)
        try:
            engine = call.share.spaces[asked.space].engine
            queued = engine.put(asked.queries, asked.k, asked.plan, None, ticket, call.inbox, call.peer, asked.deadline)
        except Exception as error:
            self._fail(search, ticket, error)
        else:
            search.queued = engine, queued

    def ended(self, call: FrontCall) -> None:
        """Withdraw the searches of a call that has ended, and offer those that were answered to the audit."""
        for ticket, search in call.searches.items():
            del call.inbox.searches[ticket]
            if search.answer is not None:
                self._audit(search, search.answer)
            elif search.queued is not None and not search.is_answered:
                engine, queued = search.queued
                engine.withdraw(queued)
        call.searches.clear()

    def _audit(self, search: Search, answer: Answer[Hits]) -> None:
        share, asked = search.call.share, search.asked
        audit = share.collection.audit
        if audit is not None and answer.result.complete:
            space = share.spaces[asked.space]
            offer_to_audit(audit, share.snapshot, space, asked.plan, asked.effort, asked.queries, answer.result, None)

    def _fail(self, search: Search, ticket: int, error: Exception) -> None:
        refused = contextvars.copy_context().run(self._refused, search.call.asked, error)
        reply = ForwardedReply(refusal=refused)
        search.call.inbox.link.send(Kind.FAILED, ticket, *reply.encoded())

    def _refused(self, asked: ArrayCall, error: Exception) -> Refusal:
        """Return what the caller is told. Runs in a copied context."""
        if asked.hides_paths:
            visible.hide(self._roots)
        return self._errors.refused(asked.method, error)
