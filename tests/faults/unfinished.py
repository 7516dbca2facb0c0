"""`python -m tests.faults.unfinished`: cost of messages that never end, for a real server and other callers.

One connection begins calls, each with a message of almost `max_unary_bytes` without
its last byte. Another begins as many calls in pieces, each with a request of almost
`max_message_bytes` without its last piece. Meanwhile a lone caller at the same address sends single queries. Exits
with 1 if the server's memory exceeds the stated bound, or if a lone call fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from tests.faults.greedy import serving
from tests.server.raw_caller import Flood

from lookalike import Client, LookalikeError, pieces
from lookalike.v1 import pieces_pb2

SEARCH = "/lookalike.v1.SearchService/Search"
_MIB = 1 << 20


@contextmanager
def in_pieces(address: str, calls: int, size: int) -> Iterator[list[Any]]:
    """Hold calls in pieces without their last piece while the block runs."""
    ended = threading.Event()

    def request() -> Iterator[bytes]:
        piece = pieces_pb2.CallRequest(data=bytes(pieces.PIECE_BYTES)).SerializeToString()
        for _ in range(size // pieces.PIECE_BYTES - 1):
            yield piece
        ended.wait()

    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        carrier = channel.stream_stream(pieces.METHOD)
        begun = [carrier(request(), metadata=pieces.metadata(SEARCH, size)) for _ in range(calls)]
        try:
            yield begun
        finally:
            ended.set()
            for one in begun:
                one.cancel()


def measure(folder: Path, calls: int, size: int, seconds: float, whole: int = 7 * _MIB) -> dict[str, float | int]:
    """Return the server's MiB before and at most during the flood, and the lone caller's calls.

    `size` is the size of requests in pieces, `whole` that of messages.
    """
    with serving(folder, 5_000, 64, "flat") as (address, _), Client(address, timeout=60) as client:
        server = psutil.Process(listener(int(address.rpartition(":")[2])))
        client.search(id=0)
        before = highest = server.memory_info().rss
        flood = Flood(address, SEARCH, calls, whole)
        flooding = threading.Thread(target=flood.run, args=(seconds,))
        with in_pieces(address, calls, size) as begun:
            flooding.start()
            times, failed = [], 0
            while flooding.is_alive():
                began = time.perf_counter()
                try:
                    client.search(id=0)
                except LookalikeError:
                    failed += 1
                times.append(time.perf_counter() - began)
                highest = max(highest, server.memory_info().rss)
                time.sleep(0.01)
            flooding.join()
            refused = sum(one.done() for one in begun)
        flood.close()
    return {
        "calls": calls,
        "sent_mib": round(flood.sent / _MIB),
        "ended_by_the_server": flood.ended,
        "in_pieces_ended_by_the_server": refused,
        "before_mib": round(before / _MIB),
        "highest_mib": round(highest / _MIB),
        "lone_calls": len(times),
        "lone_failed": failed,
        "lone_p50_ms": round(float(np.median(times)) * 1e3, 1),
        "lone_longest_ms": round(max(times) * 1e3),
    }


def listener(port: int) -> int:
    """Return the process that listens on a port."""
    found = [one.pid for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port]
    assert len(found) == 1, found
    assert found[0] is not None
    return found[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.unfinished", description=__doc__)
    parser.add_argument("--calls", type=int, default=24)
    parser.add_argument("--mib", type=int, default=62, help="size of each request in pieces")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--bound", type=int, default=420, help="MiB by which the server may grow")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "collection", wanted.calls, wanted.mib * _MIB, wanted.seconds)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    grown = figures["highest_mib"] - figures["before_mib"]
    return 1 if grown > wanted.bound or figures["lone_failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
