"""Frames between two processes: sent by the event loop or by other threads, each arrives whole."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lookalike_server.fronts.frames import Frames, Kind

LONG_S = 120
HEADER = struct.Struct("<IBQ")


class End:
    """One end of a socket, whose frames come and go in an event loop of its own thread; `other` is the other end."""

    def __init__(self, path: Path) -> None:
        self.lost = threading.Event()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            self.frames = asyncio.run_coroutine_threadsafe(self._connected(path), self.loop).result(LONG_S)
            self.other, _ = listening.accept()
        self.other.settimeout(LONG_S)
        self._stream = self.other.makefile("rb")

    async def _connected(self, path: Path) -> Frames:
        def made() -> Frames:
            return Frames(lambda link, kind, number, body: None, lambda link: self.lost.set())

        _, frames = await self.loop.create_unix_connection(made, str(path))
        return frames

    def received(self) -> tuple[int, int, bytes]:
        """Return the kind, the number, and the body of the next frame at the other end."""
        size, kind, number = HEADER.unpack(self._bytes(HEADER.size))
        return kind, number, self._bytes(size)

    def _bytes(self, size: int) -> bytes:
        data = self._stream.read(size)
        assert len(data) == size
        return data

    def leave(self) -> None:
        """Close the other end."""
        self._stream.close()
        self.other.close()

    def close(self) -> None:
        self.leave()
        assert self.lost.wait(LONG_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LONG_S)
        self.loop.close()


@pytest.fixture
def end(tmp_path: Path) -> Iterator[End]:
    one = End(tmp_path / "socket")
    yield one
    one.close()


def test_a_thread_sends_frames_while_the_event_loop_is_busy(end: End) -> None:
    free = threading.Event()
    end.loop.call_soon_threadsafe(free.wait, LONG_S)
    try:
        end.frames.send_now(Kind.FOUND, [(7, (b"one ", b"body")), (8, ())])
        assert end.received() == (Kind.FOUND, 7, b"one body")
        assert end.received() == (Kind.FOUND, 8, b"")
    finally:
        free.set()


def test_frames_of_all_threads_arrive_whole_when_the_socket_is_full(end: End) -> None:
    threads, each, size = 3, 40, 50_000

    def send(thread: int) -> None:
        for number in range(thread * each, (thread + 1) * each):
            end.frames.send_now(Kind.FOUND, [(number, (bytes([number]) * size, b"end"))])

    def send_in_loop() -> None:
        for number in range(threads * each, (threads + 1) * each):
            end.frames.send(Kind.REPLY, number, bytes([number]) * size, b"end")

    with ThreadPoolExecutor(threads) as pool:
        sending = [pool.submit(send, thread) for thread in range(threads)]
        end.loop.call_soon_threadsafe(send_in_loop)
        received = [end.received() for _ in range((threads + 1) * each)]
        for one in sending:
            one.result(LONG_S)
    assert sorted(number for _, number, _ in received) == list(range((threads + 1) * each))
    assert all(body == bytes([number]) * size + b"end" for _, number, body in received)
    kinds = {number: kind for kind, number, _ in received}
    assert [kinds[number] for number in (0, threads * each)] == [Kind.FOUND, Kind.REPLY]


def test_frames_for_an_end_that_has_gone_are_dropped(end: End) -> None:
    end.leave()
    assert end.lost.wait(LONG_S)
    end.frames.send_now(Kind.FOUND, [(1, (b"body",))])
