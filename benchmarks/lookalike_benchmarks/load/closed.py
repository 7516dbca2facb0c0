"""Closed loop: each caller sends its next call after a reply, until the time is over and one call was counted."""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio

from lookalike_benchmarks.load.job import Job
from lookalike_benchmarks.load.tally import Tally


def one_caller(job: Job, requests: list[bytes]) -> Tally:
    """Run one caller without asyncio, as most programs call."""
    with grpc.insecure_channel(job.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(job.method)
        start = time.monotonic() + job.warm_s
        tally, number = Tally(start), job.first
        while (began := time.monotonic()) < start + job.seconds or tally.empty:
            try:
                tally.answered(began, call(requests[number % len(requests)], timeout=60))
            except grpc.RpcError as error:
                tally.failed(began, error)
            number += 1
    return tally


async def callers(job: Job, requests: list[bytes]) -> Tally:
    """Run several callers on one connection."""
    async with grpc.aio.insecure_channel(job.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(job.method)
        start = time.monotonic() + job.warm_s
        tally = Tally(start)

        async def ask(number: int) -> None:
            while (began := time.monotonic()) < start + job.seconds or tally.empty:
                try:
                    tally.answered(began, await call(requests[number % len(requests)], timeout=60))
                except grpc.RpcError as error:
                    tally.failed(began, error)
                number += job.callers

        await asyncio.gather(*[ask(job.first + number) for number in range(job.callers)])
    return tally
