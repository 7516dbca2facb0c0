"""Job and outcome of a process of callers, as JSON, and its requests in a file."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Calls of one method with the requests of a file in turn, for `seconds` after a warm-up of `warm_s`.

    With `rate` 0, each of `callers` waits for its reply before its next call (a closed
    loop). Otherwise calls start `rate` times a second, whether or not earlier ones have
    been answered (an open loop). `first` is the first request of this process.
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
    """The counted calls: milliseconds of each, start and end, failures, some replies.

    `began` and `ended` are in the time of `time.monotonic`, which all processes of a
    machine share. `all_calls` includes the answered warm-up calls. `failures` are counts
    by status code. `replies` are hexadecimal. `answered_s` has the time of each reply, in
    seconds after `began`. `refusals_ms` has the latencies of calls that were rejected with
    RESOURCE_EXHAUSTED; `told` of them named a retry delay.
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
    """Write requests, each after its length."""
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack("<I", len(request)) + request)
    return path


def read_requests(path: Path) -> list[bytes]:
    """Read the requests of a file."""
    data, at, requests = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        requests.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return requests
