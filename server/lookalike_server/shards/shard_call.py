"""One question to several shards: a replica of each must answer, or the question fails."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import grpc

from lookalike.v1 import shard_pb2
from lookalike_server.common.errors import OverloadedError, ShardLostError
from lookalike_server.shards.replica import Replica
from lookalike_server.shards.shard_set import ShardSet, by_load, down_for

log = logging.getLogger(__name__)

# Interval of checks on running calls, and time to wait for a shard that has lost its last replica.
_LOOK_S, _BACK_S = 0.1, 1.0
_PAUSE_S = 0.05
# Seconds after which a caller should retry if the shards are too busy.
_RETRY_AFTER_S = 0.2


class _Refusal(NamedTuple):
    """Rejection of a call by a replica."""

    code: grpc.StatusCode
    details: str


_Outcome = shard_pb2.SearchShardResponse | _Refusal | Exception


@dataclass(eq=False)
class _Part:
    """A shard's part of a question: the replicas asked so far, those `under_way` by ticket, and their answers."""

    replicas: Sequence[Replica]
    asked: set[Replica] = field(default_factory=set)
    under_way: dict[int, Replica] = field(default_factory=dict)
    hedge_at: float = 0.0
    answer: shard_pb2.SearchShardResponse | None = None
    codes: list[grpc.StatusCode] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Numbers of the shards that its replicas belong to."""
        return ", ".join(str(number) for number in sorted({replica.shard for replica in self.replicas}))


def call_shards(
    shards: ShardSet,
    groups: Sequence[Sequence[Replica]],
    digest: str,
    message: Callable[[bool], bytes],
    timeout: float,
    *,
    hedged: bool = True,
) -> list[shard_pb2.SearchShardResponse]:
    """Return the answers of one replica of each group about a generation.

    `message(bits)` is the request, with or without the bits of masks. After a failure, another
    replica is asked. Raises ShardLostError if no replica of a group answers within `timeout`
    seconds, and OverloadedError if all are too busy.
    """
    return _ShardCall(shards, digest, message, timeout, hedged=hedged).answers([_Part(group) for group in groups])


class _ShardCall:
    def __init__(
        self, shards: ShardSet, digest: str, message: Callable[[bool], bytes], timeout: float, *, hedged: bool
    ) -> None:
        self._shards = shards
        self._digest = digest
        self._message = message
        self._until = time.monotonic() + timeout
        self._hedge_s = shards.settings.hedge_ms / 1000 if hedged else 0.0
        self._metadata = shards.metadata
        self._tickets = itertools.count()
        self._done: SimpleQueue[tuple[_Part, int, _Outcome]] = SimpleQueue()

    def answers(self, parts: Sequence[_Part]) -> list[shard_pb2.SearchShardResponse]:
        for part in parts:
            self._ask_next(part, time.monotonic())
        while waiting := [part for part in parts if part.answer is None]:
            try:
                self._take(*self._done.get(timeout=_LOOK_S))
            except Empty:
                self._check_replicas(waiting)
        return [part.answer for part in parts if part.answer is not None]

    def _ask_next(self, part: _Part, began: float) -> None:
        """Ask the next replica of a part. If there is none, wait briefly for one."""
        while not (left := [one for one in by_load(part.replicas, self._digest) if one not in part.asked]):
            if part.under_way:
                return
            # A reachable replica that rejected the question would reject it again.
            refused = bool(part.codes) and grpc.StatusCode.UNAVAILABLE not in part.codes
            late = time.monotonic() > min(self._until, began + _BACK_S) or down_for(part.replicas) > _BACK_S
            if refused or late:
                raise self._failure(part)
            # A failed replica may be back.
            self._shards.wait_for_change(_PAUSE_S)
            part.asked.clear()
        self._send(part, left[0], bits=False)

    def _send(self, part: _Part, replica: Replica, *, bits: bool) -> None:
        part.asked.add(replica)
        now = time.monotonic()
        part.hedge_at = now + self._hedge_s if self._hedge_s else float("inf")
        ticket = next(self._tickets)
        part.under_way[ticket] = replica
        # Blocking calls take half of the processor time of calls with a future.
        self._shards.pool.submit(self._call, part, ticket, replica, self._message(bits), max(0.001, self._until - now))

    def _call(self, part: _Part, ticket: int, replica: Replica, message: bytes, timeout: float) -> None:
        outcome: _Outcome
        try:
            with replica.counted_call():
                outcome = replica.search(message, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            told: Any = error
            outcome = _Refusal(told.code(), told.details() or "")
        except Exception as error:
            # Any error must reach the caller.
            outcome = error
        self._done.put((part, ticket, outcome))

    def _take(self, part: _Part, ticket: int, outcome: _Outcome) -> None:
        replica = part.under_way.pop(ticket, None)
        if replica is None or part.answer is not None:
            return
        if isinstance(outcome, _Refusal):
            self._failed(part, replica, outcome.code, outcome.details)
        elif isinstance(outcome, Exception):
            raise outcome
        elif other := replica.mismatch(outcome.shard, outcome.shards, len(self._shards.shards)):
            # Another server was started at its address since the last health check.
            log.warning("shard %d: the router does not use %s: %s", replica.shard, replica.address, other)
            self._failed(part, replica, grpc.StatusCode.UNAVAILABLE, other)
        elif outcome.unknown_masks:
            self._send(part, replica, bits=True)
        else:
            part.answer = outcome

    def _failed(self, part: _Part, replica: Replica, code: grpc.StatusCode, details: str) -> None:
        part.codes.append(code)
        problem = f"{code.name}: {details}"
        if code is grpc.StatusCode.UNAVAILABLE:
            self._shards.suspect(replica, problem)
        else:
            log.warning("shard %d: %s failed: %s", replica.shard, replica.address, problem)
        if time.monotonic() >= self._until:
            raise self._failure(part)
        self._ask_next(part, time.monotonic())

    def _check_replicas(self, waiting: Sequence[_Part]) -> None:
        """Replace replicas that are gone, and ask others in addition to slow ones."""
        now = time.monotonic()
        for part in waiting:
            if now >= self._until:
                raise self._failure(part)
            for ticket, replica in list(part.under_way.items()):
                if not replica.live:
                    # Its call continues in its thread until it ends by itself.
                    del part.under_way[ticket]
                    self._failed(part, replica, grpc.StatusCode.UNAVAILABLE, replica.problem)
            if now >= part.hedge_at:
                part.hedge_at = float("inf")
                others = [one for one in by_load(part.replicas, self._digest) if one not in part.asked]
                if others:
                    self._send(part, others[0], bits=False)

    def _failure(self, part: _Part) -> Exception:
        if part.codes and all(code is grpc.StatusCode.RESOURCE_EXHAUSTED for code in part.codes):
            return OverloadedError("The shards are overloaded; retry later.", _RETRY_AFTER_S)
        problem = self._shards.problem(self._digest) or f"Shard {part.name} does not answer; retry later."
        return ShardLostError(problem)
