"""The open loop: calls begin at a fixed rate, answered or not.

Their latency counts from when they were meant to begin. A server, or a
caller's own process, that falls behind shows in the latency, where a closed
loop would simply ask less.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio

from lookalike_benchmarks.load.job import Job
from lookalike_benchmarks.load.tally import Tally

# Calls are answered or given up within this, so that an overloaded server ends the run all the same.
_PATIENCE_S = 10.0


async def arrivals(job: Job, requests: list[bytes]) -> Tally:
    """`rate` calls a second on one connection."""
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
                    # Behind: let the answers in, or they would wait for the last call to have been sent.
                    await asyncio.sleep(0)
                group.create_task(ask(number, meant))
    return tally
