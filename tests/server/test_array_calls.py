"""The engine process's inbox of a front: answers go to the socket at once, errors by way of the event loop."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

from lookalike_indexer.errors import DeviceError
from lookalike_server.batching.waiting import Answer
from lookalike_server.fronts.array_calls import FrontInbox, Search
from lookalike_server.fronts.array_messages import decode_answer
from lookalike_server.fronts.frames import Kind
from lookalike_server.search.hits import Hits


class Link:
    """Stand-in for the socket: keeps what was sent, with the thread that sent it."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, Answer[Hits], int]] = []

    def send_now(self, kind: Kind, bodies: Any) -> None:
        for number, body in bodies:
            self.sent.append((kind, number, decode_answer(b"".join(body)), threading.get_ident()))


async def test_answers_are_sent_by_the_thread_that_has_them_and_errors_by_the_event_loop() -> None:
    failed: asyncio.Future[tuple[Any, int, Exception, int]] = asyncio.get_running_loop().create_future()
    link: Any = Link()
    inbox = FrontInbox(link, lambda search, ticket, error: failed.set_result((search, ticket, error, _thread())))
    asked: Any = None
    call: Any = SimpleNamespace(share=SimpleNamespace(collection=SimpleNamespace(audit=None)))
    inbox.searches = {ticket: Search(call, asked) for ticket in (1, 3)}
    hits = Hits(np.array([[4, 2]]), np.array([[0.5, 1.5]], np.float32), 3, False, "cpu", True)
    error = DeviceError("lost")
    # The caller of the second search has left.

    def answer_all() -> int:
        inbox.put([(1, Answer(hits, "cpu", 1, 5, 6)), (2, error), (3, error)])
        return _thread()

    thread = await asyncio.to_thread(answer_all)
    search, ticket, told, teller = await asyncio.wait_for(failed, 60)
    assert (search, ticket, told, teller) == (inbox.searches[3], 3, error, _thread())
    [(kind, number, answer, sender)] = link.sent
    assert (kind, number, sender) == (Kind.FOUND, 1, thread)
    assert (answer.result.rows.tolist(), answer.result.distances.tolist()) == ([[4, 2]], [[0.5, 1.5]])
    assert (answer.queue_us, answer.run_us, answer.result.nprobe) == (5, 6, 3)


def _thread() -> int:
    return threading.get_ident()
