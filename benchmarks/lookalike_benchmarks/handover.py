"""Ways to forward a search from a front process to the engine process: latency and processor time.

    python -m lookalike_benchmarks.handover

A front sends a query of 2,048 float32 after a fixed header; the engine process
replies with the rows and distances of ten neighbors. One call at a time gives
the latency, 32 at a time the processor time of both processes for each call.
All ways run in one command, in turn, so that their figures are comparable.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

_HEADER = struct.Struct("<IIQ")
_DIM, _K = 2048, 10
_TOGETHER = 32
_SLOT = 1 << 14

Call = Callable[[int, bytes], Awaitable[bytes]]


def _answer(number: int) -> bytes:
    rows, distances = np.arange(_K, dtype=np.int64), np.zeros(_K, np.float32)
    return _HEADER.pack(12 * _K, 0, number) + rows.tobytes() + distances.tobytes()


class _Frames(asyncio.Protocol):
    """Frames of a stream; `arrived` gets the number and the body of each frame."""

    def __init__(self, arrived: Callable[[int, memoryview], None]) -> None:
        self._arrived = arrived
        self._rest = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            data, self._rest = bytes(self._rest), bytearray()
        view, at = memoryview(data), 0
        while len(view) - at >= _HEADER.size:
            size, _, number = _HEADER.unpack_from(view, at)
            end = at + _HEADER.size + size
            if end > len(view):
                break
            self._arrived(number, view[at + _HEADER.size : end])
            at = end
        self._rest += view[at:]


class _Waiting:
    """Pending calls by number."""

    def __init__(self, send: Callable[[int, bytes], None]) -> None:
        self._send = send
        self._futures: dict[int, asyncio.Future[bytes]] = {}

    async def __call__(self, number: int, query: bytes) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._futures[number] = future
        self._send(number, query)
        return await future

    def arrived(self, number: int, body: bytes | memoryview) -> None:
        self._futures.pop(number).set_result(bytes(body))


def _stream_engine(path: str) -> None:
    async def main() -> None:
        def opened() -> _Frames:
            def arrived(number: int, body: memoryview) -> None:
                np.frombuffer(body, np.float32)
                protocol.transport.write(_answer(number))  # type: ignore[attr-defined]

            protocol = _Frames(arrived)
            return protocol

        server = await asyncio.get_running_loop().create_unix_server(opened, path)
        await server.serve_forever()

    asyncio.run(main())


async def _stream(path: str) -> Call:
    calls: _Waiting = _Waiting(
        lambda number, query: protocol.transport.write(_HEADER.pack(len(query), 0, number) + query)  # type: ignore[attr-defined]
    )
    _, protocol = await asyncio.get_running_loop().create_unix_connection(lambda: _Frames(calls.arrived), path)
    return calls


def _packets_engine(path: str) -> None:
    async def main() -> None:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(path)
        listening.listen()
        there, _ = listening.accept()
        there.setblocking(False)

        def read() -> None:
            while True:
                try:
                    data = there.recv(_SLOT)
                except BlockingIOError:
                    return
                if not data:
                    os._exit(0)
                number = _HEADER.unpack_from(data)[2]
                np.frombuffer(data, np.float32, offset=_HEADER.size)
                there.send(_answer(number))

        asyncio.get_running_loop().add_reader(there, read)
        await asyncio.Event().wait()

    asyncio.run(main())


async def _packets(path: str) -> Call:
    there = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    there.connect(path)
    there.setblocking(False)
    calls = _Waiting(lambda number, query: _send_packet(there, _HEADER.pack(len(query), 0, number) + query))

    def read() -> None:
        while True:
            try:
                data = there.recv(_SLOT)
            except BlockingIOError:
                return
            calls.arrived(_HEADER.unpack_from(data)[2], data[_HEADER.size :])

    asyncio.get_running_loop().add_reader(there, read)
    return calls


def _send_packet(there: socket.socket, data: bytes) -> None:
    try:
        there.send(data)
    except BlockingIOError:
        # The kernel's queue of packets is full; a real process would need its own queue.
        asyncio.get_running_loop().call_soon(_send_packet, there, data)


def _zmq_engine(path: str) -> None:
    import zmq
    import zmq.asyncio

    async def main() -> None:
        there = zmq.asyncio.Context().socket(zmq.ROUTER)
        there.bind(f"ipc://{path}")
        while True:
            who, header, body = await there.recv_multipart()
            np.frombuffer(body, np.float32)
            await there.send_multipart([who, _answer(_HEADER.unpack(header)[2])])

    asyncio.run(main())


async def _zmq(path: str) -> Call:
    import zmq
    import zmq.asyncio

    there = zmq.asyncio.Context().socket(zmq.DEALER)
    there.connect(f"ipc://{path}")

    def send(number: int, query: bytes) -> None:
        sent = asyncio.ensure_future(there.send_multipart([_HEADER.pack(len(query), 0, number), query]))
        _SENDING.add(sent)
        sent.add_done_callback(_SENDING.discard)

    calls = _Waiting(send)

    async def read() -> None:
        while True:
            (data,) = await there.recv_multipart()
            calls.arrived(_HEADER.unpack_from(data)[2], data[_HEADER.size :])

    _KEPT.append(asyncio.create_task(read()))
    return calls


_KEPT: list[object] = []
_SENDING: set[asyncio.Future[Any]] = set()


class _Ring:
    """Slots of shared memory that one process writes and another reads; an eventfd wakes the reader."""

    def __init__(self, memory: SharedMemory, first: int, bell: int) -> None:
        if memory.buf is None:
            raise ValueError("the shared memory is closed")
        # Kept, because the memory is freed with its owner.
        self._memory = memory
        self._buffer, self._first, self._bell = memory.buf, first, bell
        self._next = 0

    def put(self, number: int, body: bytes) -> None:
        at = (self._first + self._next % _TOGETHER) * _SLOT
        self._next += 1
        self._buffer[at : at + _HEADER.size] = _HEADER.pack(len(body), 0, number)
        self._buffer[at + _HEADER.size : at + _HEADER.size + len(body)] = body
        os.eventfd_write(self._bell, 1)

    def read(self) -> list[tuple[int, bytes]]:
        found = []
        for _ in range(os.eventfd_read(self._bell)):
            at = (self._first + self._next % _TOGETHER) * _SLOT
            self._next += 1
            size, _, number = _HEADER.unpack_from(self._buffer, at)
            found.append((number, bytes(self._buffer[at + _HEADER.size : at + _HEADER.size + size])))
        return found


def _ring_engine(name: str, there: int, back: int) -> None:
    async def main() -> None:
        memory = SharedMemory(name)
        queries, answers = _Ring(memory, 0, there), _Ring(memory, _TOGETHER, back)

        def read() -> None:
            for number, body in queries.read():
                np.frombuffer(body, np.float32)
                answers.put(number, _answer(number)[_HEADER.size :])

        asyncio.get_running_loop().add_reader(there, read)
        await asyncio.Event().wait()

    asyncio.run(main())


async def _ring(memory: SharedMemory, there: int, back: int) -> Call:
    queries, answers = _Ring(memory, 0, there), _Ring(memory, _TOGETHER, back)
    calls = _Waiting(queries.put)

    def read() -> None:
        for number, body in answers.read():
            calls.arrived(number, body)

    asyncio.get_running_loop().add_reader(back, read)
    return calls


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measured(open_call: Callable[[], Awaitable[Call]], engine: int, calls: int) -> tuple[float, float]:
    """Return the median seconds of one call at a time, and processor seconds of a call with 32 at a time."""
    call = await open_call()
    query = np.zeros(_DIM, np.float32).tobytes()
    seconds = []
    for number in range(calls):
        began = time.perf_counter()
        await call(number, query)
        seconds.append(time.perf_counter() - began)
    numbers = iter(range(calls, 5 * calls))

    async def ask() -> None:
        for number in numbers:
            await call(number, query)

    before = _cpu(engine) + time.process_time()
    await asyncio.gather(*(ask() for _ in range(_TOGETHER)))
    return statistics.median(seconds), (_cpu(engine) + time.process_time() - before) / (4 * calls)


def _run(way: str, folder: Path, calls: int) -> tuple[float, float]:
    started = multiprocessing.get_context("fork")
    path = str(folder / f"{way}.{time.monotonic_ns()}")
    memory = None
    if way == "ring":
        memory = SharedMemory(create=True, size=2 * _TOGETHER * _SLOT)
        bells = os.eventfd(0), os.eventfd(0)
        engine = started.Process(target=_ring_engine, args=(memory.name, *bells), daemon=True)
        shared = memory

        def opened() -> Awaitable[Call]:
            return _ring(shared, *bells)
    else:
        target, client = {
            "stream": (_stream_engine, _stream),
            "packets": (_packets_engine, _packets),
            "zmq": (_zmq_engine, _zmq),
        }[way]
        engine = started.Process(target=target, args=(path,), daemon=True)

        def opened() -> Awaitable[Call]:
            return client(path)

    engine.start()
    try:
        time.sleep(0.5)
        return asyncio.run(_measured(opened, engine.pid or 0, calls))
    finally:
        engine.terminate()
        engine.join()
        if memory is not None:
            memory.close()
            memory.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ways = ["stream", "packets", "zmq", "ring"]
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            for way in ways:
                found[way].append(_run(way, Path(folder), given.calls))
    print("way      latency us   CPU us a call")
    for way, results in found.items():
        latency, cpu = (statistics.median(values) * 1e6 for values in zip(*results, strict=True))
        print(f"{way:8} {latency:10.1f} {cpu:15.1f}")


if __name__ == "__main__":
    main()
