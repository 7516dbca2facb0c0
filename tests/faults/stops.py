"""`python -m tests.faults.stops [--overlapping]`: asyncio servers of gRPC, started and stopped during calls.

This uses nothing of Lookalike. With `--overlapping`, a second stop begins before
the first has ended, which crashes the process with SIGSEGV within seconds
(grpcio 1.85.1, Python 3.11.7; docs/reliability-evidence.md).
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import random
import sys
import time
from typing import Any

import grpc


async def handler(request: bytes, context: Any) -> bytes:
    await asyncio.sleep(random.random() * 0.02)
    return request


async def caller(channel: grpc.aio.Channel, ended: asyncio.Event) -> None:
    """Send calls until the end; some are canceled, some are too large for one piece."""
    while not ended.is_set():
        call = channel.unary_unary("/s/M")(b"x" * random.choice([10, 2_000_000]))
        try:
            if random.random() < 0.4:
                await asyncio.sleep(random.random() * 0.004)
                call.cancel()
            await call
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            await asyncio.sleep(0.001)


async def life(overlapping: bool) -> None:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"M": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ended = asyncio.Event()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        callers = [asyncio.create_task(caller(channel, ended)) for _ in range(4)]
        await asyncio.sleep(random.random() * 0.05)
        first = asyncio.create_task(server.stop(0.01))
        await asyncio.sleep(0)
        if overlapping:
            await server.stop(0)
        await first
        ended.set()
        await asyncio.gather(*callers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overlapping", action="store_true")
    parser.add_argument("--seconds", type=float, default=60)
    wanted = parser.parse_args()
    faulthandler.enable()
    gc.set_threshold(50, 3, 3)  # collect often, so that the collector meets broken objects
    end, count = time.monotonic() + wanted.seconds, 0
    while time.monotonic() < end:
        asyncio.run(life(wanted.overlapping))
        count += 1
    sys.stdout.write(f"{count} servers were started and ended\n")


if __name__ == "__main__":
    main()
