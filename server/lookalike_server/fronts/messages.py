"""What passes between a front and the engine process, as bytes: fixed headers, texts, and messages as they came.

Both ends are one version of one program, so nothing here has to be compatible.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import grpc

from lookalike_server.common.call_record import Stage, Step
from lookalike_server.common.errors import Refusal
from lookalike_server.transport.service_table import SERVED

METHODS: Final[tuple[str, ...]] = tuple(
    f"/{service.full_name}/{method.name}" for service, _ in SERVED for method in service.methods
)
_NUMBERS: Final = {method: number for number, method in enumerate(METHODS)}

_STEPS: Final[tuple[Step, ...]] = get_args(Step)
_STEP_NUMBERS: Final = {step: number for number, step in enumerate(_STEPS)}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

# None of the texts has it: they are names, addresses and identifiers of visible characters, or our own sentences.
_BETWEEN = "\0"

# The method, whether paths are hidden, the deadline, the bytes of the texts.
_CALL = struct.Struct("<B?dI")
_NO_DEADLINE = float("inf")
# The gRPC code, the number of stages, the bytes of the texts, those of the details of an error, the seconds.
_REPLY = struct.Struct("<BBIId")
_STAGE = struct.Struct("<Bdd")
_STATE = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class ForwardedCall:
    """A call on its way to the engine process.

    `deadline` is in the time of `time.monotonic`, which all processes share;
    `hides_paths` whether the caller sees no paths, `collections` those that its
    token is limited to. `message` is the request as it came.
    """

    method: str
    deadline: float | None
    hides_paths: bool
    request_id: str
    peer: str
    caller: str
    traceparent: str
    collections: tuple[str, ...]
    message: bytes

    def encoded(self) -> tuple[bytes, bytes]:
        """The pieces of a frame's body."""
        given = (self.request_id, self.peer, self.caller, self.traceparent, *self.collections)
        texts = _BETWEEN.join(given).encode()
        deadline = _NO_DEADLINE if self.deadline is None else self.deadline
        return _CALL.pack(_NUMBERS[self.method], self.hides_paths, deadline, len(texts)) + texts, self.message

    @classmethod
    def decoded(cls, body: bytes) -> ForwardedCall:
        """What `encoded` made the body of."""
        number, hides_paths, deadline, length = _CALL.unpack_from(body)
        start = _CALL.size + length
        request_id, peer, caller, trace, *collections = body[_CALL.size : start].decode().split(_BETWEEN)
        return cls(
            METHODS[number],
            None if deadline == _NO_DEADLINE else deadline,
            hides_paths,
            request_id,
            peer,
            caller,
            trace,
            tuple(collections),
            body[start:],
        )


@dataclass(frozen=True, slots=True)
class ForwardedReply:
    """The answer: the reply as it goes to the caller, or why there is none; and what the call's record is to know.

    `seconds` is how long the engine process had the call.
    """

    message: bytes = b""
    refusal: Refusal | None = None
    collection: str = ""
    stages: Sequence[Stage] = field(default=())
    seconds: float = 0.0

    def encoded(self) -> tuple[bytes, bytes]:
        """The pieces of a frame's body."""
        told, details, code = [self.collection], b"", 0
        if self.refusal is not None:
            told += [self.refusal.message.replace(_BETWEEN, " "), self.refusal.reason]
            details, code = self.refusal.details, self.refusal.code.value[0]
        texts = _BETWEEN.join(told).encode(errors="replace")
        stages = [_STAGE.pack(_STEP_NUMBERS[one.name], one.started, one.seconds) for one in self.stages]
        head = _REPLY.pack(code, len(stages), len(texts), len(details), self.seconds)
        return b"".join([head, *stages, texts, details]), self.message

    @classmethod
    def decoded(cls, body: bytes) -> ForwardedReply:
        """What `encoded` made the body of."""
        code, count, length, size, took = _REPLY.unpack_from(body)
        at = _REPLY.size + count * _STAGE.size
        stages = [
            Stage(_STEPS[step], started, seconds)
            for step, started, seconds in _STAGE.iter_unpack(body[_REPLY.size : at])
        ]
        collection, *told = body[at : at + length].decode().split(_BETWEEN)
        at += length
        if not told:
            return cls(body[at:], None, collection, stages, took)
        message, reason = told
        refused = Refusal(_CODES[code], message, body[at : at + size], reason)
        return cls(b"", refused, collection, stages, took)


@dataclass(frozen=True, slots=True)
class FrontState:
    """What a front tells of itself every moment: messages that are arriving, their bytes, and resident memory."""

    arriving: int = 0
    held_bytes: int = 0
    resident_bytes: int = 0

    def encoded(self) -> bytes:
        """A frame's body."""
        return _STATE.pack(self.arriving, self.held_bytes, self.resident_bytes)

    @classmethod
    def decoded(cls, body: bytes) -> FrontState:
        """What `encoded` made."""
        return cls(*_STATE.unpack(body))
