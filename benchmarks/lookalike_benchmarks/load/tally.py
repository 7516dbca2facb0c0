"""Counts of one process of callers."""

from __future__ import annotations

import collections
import time
from typing import Any

import grpc

from lookalike_benchmarks.load.job import Outcome

# Only every 16th reply is kept, up to 256: keeping all would take processor time from the server.
_KEEP_EVERY = 16
_KEEP_MOST = 256

_RETRY_INFO = b"/google.rpc.RetryInfo"


class Tally:
    """Counts calls whose intended start is at or after `start`, in the time of `time.monotonic`."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._latencies: list[float] = []
        self._answered: list[float] = []
        self._refusals: list[float] = []
        self._told = 0
        self._failures: collections.Counter[str] = collections.Counter()
        self._replies: list[bytes] = []
        self._ended = start
        self._all = 0

    @property
    def empty(self) -> bool:
        """True if no call has been counted yet, neither answered nor failed."""
        return not self._latencies and not self._failures

    def answered(self, meant: float, reply: bytes) -> None:
        """Count a reply that arrived now to a call with the intended start `meant`."""
        now = time.monotonic()
        self._all += 1
        if meant < self._start:
            return
        if len(self._latencies) % _KEEP_EVERY == 0 and len(self._replies) < _KEEP_MOST:
            self._replies.append(reply)
        self._latencies.append((now - meant) * 1e3)
        self._answered.append(now - self._start)
        self._ended = now

    def failed(self, meant: float, error: grpc.RpcError) -> None:
        """Count a failed call."""
        if meant < self._start:
            return
        self._failures[error.code().name] += 1
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            self._refusals.append((time.monotonic() - meant) * 1e3)
            trailing: Any = error.trailing_metadata() or ()
            self._told += any(isinstance(value, bytes) and _RETRY_INFO in value for _, value in trailing)

    def outcome(self) -> Outcome:
        return Outcome(
            latencies_ms=self._latencies,
            began=self._start,
            ended=self._ended,
            all_calls=self._all,
            failures=dict(self._failures),
            replies=[reply.hex() for reply in self._replies],
            answered_s=self._answered,
            refusals_ms=self._refusals,
            told=self._told,
        )
