"""Engine process's part of calls that fronts answer themselves: searches of arrays, by ticket."""

from __future__ import annotations

import contextvars
import itertools
from dataclasses import dataclass, field

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
    """A call that a front answers from a generation. `searches` are its running searches, by the engine's ticket."""

    link: Frames
    asked: ArrayCall
    share: Share
    searches: dict[int, tuple[SearchEngine, Queued]] = field(default_factory=dict)

    @property
    def peer(self) -> str:
        """Peer that the call counts for; see callers.py."""
        return f"token {self.asked.caller}" if self.asked.caller else host_of(self.asked.peer)


@dataclass(frozen=True, slots=True)
class _Search:
    """A running search, with the ticket of its front."""

    call: FrontCall
    ticket: int
    asked: ArraySearch


class ArrayCalls:
    """Runs the searches of calls that fronts answer. `roots` are the folders to hide from some callers."""

    def __init__(self, shares: Shares, errors: Errors, roots: visible.Roots) -> None:
        self._shares, self._errors, self._roots = shares, errors, roots
        self._searches: dict[int, _Search] = {}
        self._tickets = itertools.count()
        self._inbox: LoopInbox | None = None

    def opened(self, link: Frames, asked: ArrayCall) -> FrontCall | None:
        """Open a call on a generation that fronts have.

        Return None if the call must be answered from what the engine process serves now.
        """
        share = self._shares.by_number.get(asked.generation)
        return None if share is None or not share.is_current else FrontCall(link, asked, share)

    def find(self, call: FrontCall, ticket: int, body: bytes) -> None:
        """Queue a search of a call. Its outcome is sent with the front's ticket."""
        if self._inbox is None:
            self._inbox = LoopInbox(self._found)
        asked, own = ArraySearch.decoded(body), next(self._tickets)
        search = self._searches[own] = _Search(call, ticket, asked)
        snapshot = call.share.snapshot
        try:
            engine = snapshot.spaces[list(snapshot.reader.manifest.spaces)[asked.space]].engine
            queued = engine.put(asked.queries, asked.k, asked.plan, None, own, self._inbox, call.peer, asked.deadline)
        except Exception as error:
            del self._searches[own]
            self._fail(search, error)
        else:
            call.searches[own] = engine, queued

    def ended(self, call: FrontCall) -> None:
        """Withdraw the searches of a call whose caller no longer waits."""
        for own, (engine, queued) in call.searches.items():
            self._searches.pop(own, None)
            engine.withdraw(queued)
        call.searches.clear()

    def _found(self, answers: Arrived) -> None:
        for own, outcome in answers:
            search = self._searches.pop(own, None)
            if search is None:
                continue
            search.call.searches.pop(own, None)
            if isinstance(outcome, Exception):
                self._fail(search, outcome)
            else:
                search.call.link.send(Kind.FOUND, search.ticket, *encode_answer(outcome))
                self._audit(search, outcome)

    def _audit(self, search: _Search, answer: Answer[Hits]) -> None:
        share, asked = search.call.share, search.asked
        audit = share.collection.audit
        if audit is not None and answer.result.complete:
            snapshot = share.snapshot
            space = snapshot.spaces[list(snapshot.reader.manifest.spaces)[asked.space]]
            offer_to_audit(audit, snapshot, space, asked.plan, asked.effort, asked.queries, answer.result, None)

    def _fail(self, search: _Search, error: Exception) -> None:
        refused = contextvars.copy_context().run(self._refused, search.call.asked, error)
        reply = ForwardedReply(refusal=refused)
        search.call.link.send(Kind.FAILED, search.ticket, *reply.encoded())

    def _refused(self, asked: ArrayCall, error: Exception) -> Refusal:
        """Return what the caller is told. Runs in a copied context."""
        if asked.hides_paths:
            visible.hide(self._roots)
        return self._errors.refused(asked.method, error)
