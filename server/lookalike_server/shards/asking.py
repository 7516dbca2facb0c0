"""One question to several shards: each is answered by one of its replicas, or nothing is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from lookalike.v1 import shard_pb2
from lookalike_server.common.errors import OverloadedError, ShardLostError
from lookalike_server.shards.replica import Replica
from lookalike_server.shards.shard_set import ShardSet, by_load, down_for

# How often what is under way is looked at, and how long to wait for a replica of a shard that has lost the last one.
_LOOK_S, _BACK_S = 0.1, 1.0
_PAUSE_S = 0.05
# When to come back to shards that are too busy.
_RETRY_AFTER_S = 0.2


@dataclass(eq=False)
class _Part:
    """A shard's part of a question: the replicas that were asked, and what they said."""

    replicas: Sequence[Replica]
    asked: set[Replica] = field(default_factory=set)
    under_way: dict[Any, Replica] = field(default_factory=dict)
    hedge_at: float = 0.0
    answer: shard_pb2.SearchShardResponse | None = None
    codes: list[grpc.StatusCode] = field(default_factory=list)
    problem: str = ""


def ask(
    shards: ShardSet,
    groups: Sequence[Sequence[Replica]],
    digest: str,
    message: Callable[[bool], bytes],
    timeout: float,
    *,
    hedged: bool = True,
) -> list[shard_pb2.SearchShardResponse]:
    """The answer of one replica of each group about a generation. `message(bits)` is the request, with masks' bits.

    A replica that fails is followed by another one. ShardLostError: no replica of a
    group answers within `timeout` seconds. OverloadedError: all of them are too busy.
    """
    return _Question(shards, digest, message, timeout, hedged=hedged).answers([_Part(group) for group in groups])


class _Question:
    def __init__(
        self, shards: ShardSet, digest: str, message: Callable[[bool], bytes], timeout: float, *, hedged: bool
    ) -> None:
        self._shards = shards
        self._digest = digest
        self._message = message
        self._until = time.monotonic() + timeout
        self._hedge_s = shards.settings.hedge_ms / 1000 if hedged else 0.0
        self._metadata = shards.metadata
        self._done: SimpleQueue[tuple[_Part, Any]] = SimpleQueue()

    def answers(self, parts: Sequence[_Part]) -> list[shard_pb2.SearchShardResponse]:
        began = time.monotonic()
        try:
            for part in parts:
                self._ask_next(part, began)
            while waiting := [part for part in parts if part.answer is None]:
                try:
                    self._take(*self._done.get(timeout=_LOOK_S))
                except Empty:
                    self._look(waiting, began)
        finally:
            for part in parts:
                for call in list(part.under_way):
                    call.cancel()
                for replica in part.under_way.values():
                    replica.under_way -= 1
                part.under_way.clear()
        return [part.answer for part in parts if part.answer is not None]

    def _ask_next(self, part: _Part, began: float) -> None:
        """Ask the next replica of a part; where there is none, wait for one for a moment."""
        while not (left := [one for one in by_load(part.replicas, self._digest) if one not in part.asked]):
            if part.under_way:
                return
            # What a replica that can be reached refuses, it refuses again.
            refused = bool(part.codes) and grpc.StatusCode.UNAVAILABLE not in part.codes
            late = time.monotonic() > min(self._until, began + _BACK_S) or down_for(part.replicas) > _BACK_S
            if refused or late:
                raise self._failure(part)
            # One that has failed may be back.
            self._shards.wait_for_change(_PAUSE_S)
            part.asked.clear()
        self._send(part, left[0], bits=False)

    def _send(self, part: _Part, replica: Replica, *, bits: bool) -> None:
        part.asked.add(replica)
        now = time.monotonic()
        part.hedge_at = now + self._hedge_s if self._hedge_s else float("inf")
        call = replica.search.future(
            self._message(bits), timeout=max(0.001, self._until - now), metadata=self._metadata
        )
        replica.under_way += 1
        replica.calls += 1
        part.under_way[call] = replica
        call.add_done_callback(lambda done: self._done.put((part, done)))

    def _take(self, part: _Part, call: Any) -> None:
        replica = part.under_way.pop(call, None)
        if replica is None:
            return
        replica.under_way -= 1
        if part.answer is not None:
            return
        code = call.code()
        if code is grpc.StatusCode.OK:
            answer = call.result()
            if answer.unknown_masks:
                self._send(part, replica, bits=True)
            else:
                part.answer = answer
            return
        self._failed(part, replica, code, call.details())

    def _failed(self, part: _Part, replica: Replica, code: grpc.StatusCode, details: str) -> None:
        part.codes.append(code)
        part.problem = f"{replica.address}: {code.name}: {details}"
        if code is grpc.StatusCode.UNAVAILABLE:
            self._shards.suspect(replica, f"{code.name}: {details}")
        if time.monotonic() >= self._until:
            raise self._failure(part)
        self._ask_next(part, time.monotonic())

    def _look(self, waiting: Sequence[_Part], began: float) -> None:
        """Ask others instead of replicas that are gone, and beside those that take long."""
        now = time.monotonic()
        for part in waiting:
            if now >= self._until:
                raise self._failure(part)
            for call, replica in list(part.under_way.items()):
                if not replica.live:
                    call.cancel()
            if now >= part.hedge_at:
                part.hedge_at = float("inf")
                others = [one for one in by_load(part.replicas, self._digest) if one not in part.asked]
                if others:
                    self._send(part, others[0], bits=False)

    def _failure(self, part: _Part) -> Exception:
        if part.codes and all(code is grpc.StatusCode.RESOURCE_EXHAUSTED for code in part.codes):
            return OverloadedError(f"The shards are too busy: {part.problem}", _RETRY_AFTER_S)
        problem = self._shards.problem(self._digest) or f"A shard does not answer: {part.problem}; ask again later."
        return ShardLostError(problem)
