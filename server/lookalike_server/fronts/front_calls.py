"""Calls that a front answers itself, with the servicers of a single-process server over mapped columns.

All others are forwarded: those that need the network, a filter, or attributes, and those about data
that is not shared. Both processes run the same code, so the answers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lookalike.v1 import cluster_pb2, search_pb2
from lookalike_server.batching.workers import Workers
from lookalike_server.common import call_record as record
from lookalike_server.common import reply_room
from lookalike_server.common.collection_name import known_as
from lookalike_server.common.settings import ServeSettings
from lookalike_server.fronts import own_call
from lookalike_server.fronts.engine_link import EngineLink
from lookalike_server.fronts.own_call import ElsewhereError
from lookalike_server.query.queries import Resolver
from lookalike_server.services.cluster import ClusterServicer
from lookalike_server.services.search import SearchServicer
from lookalike_server.services.search_task import effort_name
from lookalike_server.transport.collection_names import CollectionNames
from lookalike_server.transport.interceptors import Call

_SEARCH = "/lookalike.v1.SearchService/Search"
_MEMBERSHIP = "/lookalike.v1.ClusterService/GetMembership"

# Kinds of queries that need no network; None means only examples.
_WITHOUT_NETWORK = (None, "vectors", "keys", "ids")


@dataclass(frozen=True)
class ReadCall:
    """Serialized and parsed request of a call."""

    message: bytes
    request: Any


@dataclass(frozen=True)
class _FrontMethods:
    """Methods that a front answers: those for which `takes` returns True, with one handler per collection.

    A call that `asks_first` only needs to be counted by the engine process.
    """

    takes: Callable[[Any], bool]
    calls: tuple[Call, ...]
    asks_first: bool


class FrontCalls:
    """Answers calls from the generations of a link, or forwards them."""

    def __init__(self, settings: ServeSettings, link: EngineLink, workers: Workers) -> None:
        self._link = link
        names = [known_as(one.name, one.root) for one in settings.collections]
        self._names = CollectionNames(names)
        self._places = {name: place for place, name in enumerate(names)}
        served = [
            (current, one.limits, Resolver(one.limits, workers, None))
            for current, one in zip(link.generations.currents, settings.collections, strict=True)
        ]
        searches = tuple(SearchServicer(*one, workers).Search for one in served)
        memberships = tuple(ClusterServicer(*one, workers).GetMembership for one in served)
        self._own = {
            _SEARCH: _FrontMethods(_is_front_search, searches, asks_first=False),
            _MEMBERSHIP: _FrontMethods(_is_front_membership, memberships, asks_first=True),
        }
        self._parsers: dict[str, Callable[[bytes], Any]] = {
            _SEARCH: search_pb2.SearchRequest.FromString,
            _MEMBERSHIP: cluster_pb2.GetMembershipRequest.FromString,
        }

    def handler(self, method: str) -> tuple[Call, Callable[[bytes], Any]]:
        """Return the handler of a method, and the function that makes its argument from a message's bytes."""
        forward, own = self._link.forwarded(method), self._own.get(method)
        if own is None:
            return forward, lambda message: message
        parse = self._parsers[method]
        return self._answering(method, own, forward), lambda message: ReadCall(message, parse(message))

    def _answering(self, method: str, own: _FrontMethods, forward: Call) -> Call:
        several = len(own.calls) > 1

        async def answer(read: ReadCall, context: Any) -> bytes:
            request = read.request
            name = self._names.resolve(request.collection)
            place = self._places[name]
            generation = self._link.generations.served(place)
            if generation is None or reply_room.is_in_pieces() or not own.takes(request):
                reply: bytes = await forward(read.message, context)
                return reply
            known = record.current()
            if known is not None:
                known.collection = name if several else ""
                known.answered_by = "front"
            effort = effort_name(request) if method == _SEARCH else "default"
            call = self._link.own_call(method, generation, len(read.message), effort, context)
            own_call.resume(call)
            try:
                if own.asks_first:
                    await call.admit()
                reply = await own.calls[place](request, context)
                await call.reserve(reply)
            except ElsewhereError:
                self._link.end(call)
                self._link.generations.withdraw(place, generation)
                reply = await forward(read.message, context)
            return reply

        return answer


def _is_front_search(request: search_pb2.SearchRequest) -> bool:
    """Return whether a search needs no network, no unmapped columns, and no particular change."""
    return request.query.WhichOneof("kind") in _WITHOUT_NETWORK and not (
        request.after_sequence
        or request.HasField("filter")
        or request.HasField("grouping")
        or request.fields.attributes
    )


def _is_front_membership(request: cluster_pb2.GetMembershipRequest) -> bool:
    """Return whether only clusters of stored images are requested, from mapped data."""
    stored = request.query.WhichOneof("kind") in ("keys", "ids")
    return stored and not request.HasField("filter") and not request.fields
