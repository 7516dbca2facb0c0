"""Bare gRPC server as a baseline: `python -m lookalike_benchmarks.load.echo BYTES` replies with BYTES bytes.

It does only what any asyncio server must do for a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import Any

import grpc
import grpc.aio

METHOD = "/lookalike.benchmarks.Echo/Echo"
_SERVICE, _NAME = METHOD[1:].split("/")


async def serve(size: int) -> None:
    """Serve until SIGTERM."""
    reply = bytes(size)

    async def echo(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return reply

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {_NAME: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"ECHO on 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1])))
