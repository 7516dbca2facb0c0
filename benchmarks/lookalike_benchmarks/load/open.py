"""Open loop: calls start at a fixed rate, whether or not earlier ones have been answered.

Latency counts from the intended start. It therefore includes the delay of a server, or
a process of callers, that falls behind; a closed loop would only send fewer calls.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio

from lookalike_benchmarks.load.job import Job
from lookalike_benchmarks.load.tally import Tally

# Timeout of a call in seconds, so that a run against an overloaded server ends.
_PATIENCE_S = 10.0


async def arrivals(job: Job, requests: list[bytes]) -> Tally:
    """Start `rate` calls a second on one connection."""
    async with grpc.aio.insecure_channel(job.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(job.method)
        began = time.monotonic()
        tally = Tally(began + job.warm_s)

        async def ask(number: int, meant: float) -> None:
            try:
                tally.answered(meant, await call(requests[(job.first + number) % len(requests)], timeout=_PATIENCE_S))
            except grpc.RpcError as error:
                tally.failed(meant, error)

        async with asyncio.TaskGroup() as group:
            for number in range(int((job.warm_s + job.seconds) * job.rate)):
                meant = began + number / job.rate
                if (wait := meant - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                elif number % 32 == 0:
                    # Behind schedule: process replies, which would otherwise wait until the last call has been sent.
                    await asyncio.sleep(0)
                group.create_task(ask(number, meant))
    return tally
