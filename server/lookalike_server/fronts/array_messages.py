"""Encoding of calls that a front answers itself: arrays instead of protobuf messages.

A front that needs the engine process for a call opens it (ASK), and the engine process counts it.
The front can then request searches (FIND), each with a ticket, and receives rows and distances
(FOUND) or an error (FAILED). Arrays are aligned to eight bytes, so that they are read in place.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_server.batching.waiting import Answer
from lookalike_server.fronts.messages import NO_DEADLINE
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits
from lookalike_server.transport.service_table import METHODS

# A front process does not load faiss.
if TYPE_CHECKING:
    from lookalike_server.observe.audit import AuditEffort

_BETWEEN = "\0"

# Generation, bytes of the request, method, whether paths are hidden.
_ASK = struct.Struct("<QQB?")
# Call, space, k, nprobe, number of queries, their dimensions, unused, deadline, expected recall, scan, exact, effort.
_FIND = struct.Struct("<QIIIIIIdd??B5x")
# Microseconds in the queue and of the run, size of the batch, nprobe, queries, k, scanned, complete, bytes of texts.
_FOUND = struct.Struct("<QQIIII??2xI")

_NUMBERS: Final = {method: number for number, method in enumerate(METHODS)}
EFFORTS: Final[tuple[AuditEffort, ...]] = ("default", "nprobe", "recall")


class ArrayCall(NamedTuple):
    """A call that a front answers itself from the shared generation with the id `generation`; `size` is in bytes."""

    method: str
    generation: int
    size: int
    hides_paths: bool
    request_id: str
    peer: str
    caller: str

    def encoded(self) -> bytes:
        """Return the body of a frame."""
        texts = _BETWEEN.join((self.request_id, self.peer, self.caller)).encode()
        head = _ASK.pack(self.generation, self.size, _NUMBERS[self.method], self.hides_paths)
        return head + texts

    @classmethod
    def decoded(cls, body: bytes) -> ArrayCall:
        """Decode what `encoded` returned."""
        generation, size, method, hides_paths = _ASK.unpack_from(body)
        request_id, peer, caller = body[_ASK.size :].decode().split(_BETWEEN)
        return cls(METHODS[method], generation, size, hides_paths, request_id, peer, caller)


class ArraySearch(NamedTuple):
    """A search for a call. `space` is the position in the manifest; `queries` is (n, dim); `effort` is one of EFFORTS.

    `deadline` is in the time of `time.monotonic`, which all processes share.
    """

    call: int
    space: int
    queries: Float32
    k: int
    plan: Plan
    deadline: float | None
    effort: AuditEffort = "default"

    def encoded(self) -> tuple[bytes, bytes]:
        """Return the pieces of a frame's body."""
        count, dim = self.queries.shape
        plan = self.plan
        head = _FIND.pack(
            self.call, self.space, self.k, plan.nprobe, count, dim, 0,
            NO_DEADLINE if self.deadline is None else self.deadline, plan.expected_recall, plan.scan, plan.exact,
            EFFORTS.index(self.effort),
        )  # fmt: skip
        return head, np.ascontiguousarray(self.queries, np.float32).tobytes()

    @classmethod
    def decoded(cls, body: bytes) -> ArraySearch:
        """Decode a body that `encoded` returned."""
        call, space, k, nprobe, count, dim, _, deadline, recall, scan, exact, effort = _FIND.unpack_from(body)
        queries = np.frombuffer(body, np.float32, offset=_FIND.size).reshape(count, dim)
        plan = Plan(scan, nprobe, exact, recall)
        return cls(call, space, queries, k, plan, None if deadline == NO_DEADLINE else deadline, EFFORTS[effort])


def call_of(body: bytes) -> int:
    """Return the call number of an encoded ArraySearch."""
    return int.from_bytes(body[:8], "little")


def encode_answer(answer: Answer[Hits]) -> tuple[bytes, ...]:
    """Return the pieces of a frame's body for the result of a search without a mask."""
    hits = answer.result
    count, k = hits.rows.shape
    texts = _BETWEEN.join((hits.device, answer.worker)).encode()
    head = _FOUND.pack(
        answer.queue_us, answer.run_us, answer.size, hits.nprobe, count, k, hits.scanned, hits.complete, len(texts)
    )
    return head, hits.rows.astype(np.int64, copy=False).tobytes(), hits.distances.tobytes(), texts


def decode_answer(body: bytes) -> Answer[Hits]:
    """Decode a body that `encode_answer` returned."""
    queue_us, run_us, size, nprobe, count, k, scanned, complete, length = _FOUND.unpack_from(body)
    cells, at = count * k, _FOUND.size
    rows = np.frombuffer(body, np.int64, cells, at).reshape(count, k)
    distances = np.frombuffer(body, np.float32, cells, at + 8 * cells).reshape(count, k)
    device, worker = body[len(body) - length :].decode().split(_BETWEEN)
    return Answer(Hits(rows, distances, nprobe, scanned, device, complete), worker, size, queue_us, run_us)
