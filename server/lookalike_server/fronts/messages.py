"""Encoding of forwarded calls and replies: fixed headers and texts, followed by unparsed messages.

Both ends are the same version of the program, so the format need not be compatible.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import grpc

from lookalike_server.common.call_record import Stage, Step
from lookalike_server.common.errors import Refusal
from lookalike_server.transport.service_table import METHODS

_NUMBERS: Final = {method: number for number, method in enumerate(METHODS)}

_STEPS: Final[tuple[Step, ...]] = get_args(Step)
_STEP_NUMBERS: Final = {step: number for number, step in enumerate(_STEPS)}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

# Separator. No text contains it: they are names, addresses, and identifiers of visible characters, or our messages.
_BETWEEN = "\0"

# Method, whether paths are hidden, whether the call is in pieces, deadline, bytes of the message, bytes of the texts.
_CALL = struct.Struct("<B??dQI")
NO_DEADLINE = float("inf")
# gRPC code, number of stages, bytes of the texts, bytes of the error's details, bytes of the message, seconds.
_REPLY = struct.Struct("<BBIIQd")
_STAGE = struct.Struct("<Bdd")
_STATE = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class ForwardedCall:
    """A call that is forwarded to the engine process.

    `deadline` is in the time of `time.monotonic`, which all processes share. `hides_paths`: the
    caller sees no paths. `collections` are those that its token is limited to. The serialized
    request has `size` bytes. The reply may be `in_pieces`.
    """

    method: str
    deadline: float | None
    hides_paths: bool
    request_id: str
    peer: str
    caller: str
    traceparent: str
    collections: tuple[str, ...]
    size: int
    in_pieces: bool = False

    def encoded(self) -> bytes:
        """Return what precedes the request in a frame."""
        given = (self.request_id, self.peer, self.caller, self.traceparent, *self.collections)
        texts = _BETWEEN.join(given).encode()
        deadline = NO_DEADLINE if self.deadline is None else self.deadline
        fixed = _NUMBERS[self.method], self.hides_paths, self.in_pieces, deadline, self.size, len(texts)
        return _CALL.pack(*fixed) + texts

    @classmethod
    def decoded(cls, body: bytes) -> tuple[ForwardedCall, bytes]:
        """Decode the head that `encoded` returned. Return it and the rest of the frame."""
        number, hides_paths, in_pieces, deadline, size, length = _CALL.unpack_from(body)
        start = _CALL.size + length
        request_id, peer, caller, trace, *collections = body[_CALL.size : start].decode().split(_BETWEEN)
        call = cls(
            METHODS[number],
            None if deadline == NO_DEADLINE else deadline,
            hides_paths,
            request_id,
            peer,
            caller,
            trace,
            tuple(collections),
            size,
            in_pieces,
        )
        return call, body[start:]


@dataclass(frozen=True, slots=True)
class ForwardedReply:
    """The answer: size of the reply or the error, and data for the call's record.

    `seconds` is how long the engine process had the call.
    """

    size: int = 0
    refusal: Refusal | None = None
    collection: str = ""
    stages: Sequence[Stage] = field(default=())
    seconds: float = 0.0

    def encoded(self) -> bytes:
        """Return what precedes the reply in a frame."""
        told, details, code = [self.collection], b"", 0
        if self.refusal is not None:
            told += [self.refusal.message.replace(_BETWEEN, " "), self.refusal.reason]
            details, code = self.refusal.details, self.refusal.code.value[0]
        texts = _BETWEEN.join(told).encode(errors="replace")
        stages = [_STAGE.pack(_STEP_NUMBERS[one.name], one.started, one.seconds) for one in self.stages]
        head = _REPLY.pack(code, len(stages), len(texts), len(details), self.size, self.seconds)
        return b"".join([head, *stages, texts, details])

    @classmethod
    def decoded(cls, body: bytes) -> tuple[ForwardedReply, bytes]:
        """Decode the head that `encoded` returned. Return it and the rest of the frame."""
        code, count, length, of_details, size, took = _REPLY.unpack_from(body)
        at = _REPLY.size + count * _STAGE.size
        stages = [
            Stage(_STEPS[step], started, seconds)
            for step, started, seconds in _STAGE.iter_unpack(body[_REPLY.size : at])
        ]
        collection, *told = body[at : at + length].decode().split(_BETWEEN)
        at += length
        if not told:
            return cls(size, None, collection, stages, took), body[at:]
        message, reason = told
        refused = Refusal(_CODES[code], message, body[at : at + of_details], reason)
        return cls(0, refused, collection, stages, took), b""


@dataclass(frozen=True, slots=True)
class FrontState:
    """State that a front reports every second: arriving messages, held bytes, and resident memory."""

    arriving: int = 0
    held_bytes: int = 0
    resident_bytes: int = 0

    def encoded(self) -> bytes:
        """Return the body of a frame."""
        return _STATE.pack(self.arriving, self.held_bytes, self.resident_bytes)

    @classmethod
    def decoded(cls, body: bytes) -> FrontState:
        """Decode what `encoded` returned."""
        return cls(*_STATE.unpack(body))
