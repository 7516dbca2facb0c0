"""What a process of callers is told to do, and what it answers: plain JSON, and requests in a file."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Calls of one method with the requests of a file in turn, for `seconds` after `warm_s` uncounted ones.

    With `rate` 0 each of `callers` waits for its answer before it asks again
    (a closed loop); otherwise calls start `rate` times a second whether or not
    the earlier ones were answered (an open loop). `first` is the request that
    this process begins with.
    """

    address: str
    method: str
    requests: str
    callers: int
    seconds: float
    warm_s: float = 1.0
    rate: float = 0.0
    first: int = 0

    def line(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def of(cls, line: str) -> Job:
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Outcome:
    """The counted calls: milliseconds of each, when the first began and the last ended, failures, some replies.

    `began` and `ended` are in the time of `time.monotonic`, which all
    processes of a machine share; `all_calls` also has the uncounted ones that
    were answered. `failures` are status codes with their
    counts. `replies` are in hexadecimal. `answered_s` is when each of the calls
    was answered, in seconds after `began`. `refusals_ms` are of the calls that
    were refused with RESOURCE_EXHAUSTED, of which `told` were told when to come
    back.
    """

    latencies_ms: list[float]
    began: float
    ended: float
    all_calls: int
    failures: dict[str, int] = field(default_factory=dict)
    replies: list[str] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    refusals_ms: list[float] = field(default_factory=list)
    told: int = 0

    def line(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def of(cls, line: str) -> Outcome:
        return cls(**json.loads(line))


def write_requests(path: Path, requests: Sequence[bytes]) -> Path:
    """Write requests, each behind its length."""
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack("<I", len(request)) + request)
    return path


def read_requests(path: Path) -> list[bytes]:
    """The requests of a file."""
    data, at, requests = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        requests.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return requests
