"""The queue of the experiment runner: what runs, what is rejected, and what is cached."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lookalike_indexer.errors import NotFoundError
from lookalike_server.common.errors import ExpiredError, OverloadedError
from lookalike_server.common.limits import Limits
from lookalike_server.processes.experiment_queue import ENTRY_OVERHEAD_BYTES, ExperimentQueue, ResultCache
from lookalike_server.processes.experiment_runner import ExperimentKey


class Gated:
    """An experiment runner whose runs wait for `open`."""

    def __init__(self) -> None:
        self.ran: list[ExperimentKey] = []
        self.open = threading.Event()
        self.closed = False

    def answer(self, asked: ExperimentKey) -> bytes:
        self.ran.append(asked)
        assert self.open.wait(60)
        if asked.name == "wrong":
            raise NotFoundError("There is no such thing.")
        return f"{asked.name} of {asked.generation}".encode()

    def close(self) -> None:
        self.closed = True


@contextmanager
def queue_of(experiment_runner: Gated, **limits: int) -> Iterator[ExperimentQueue]:
    queue = ExperimentQueue(experiment_runner, Limits(**limits))
    try:
        yield queue
    finally:
        experiment_runner.open.set()
        queue.close()
    assert experiment_runner.closed


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_equal_calls_are_answered_by_one_run() -> None:
    experiment_runner = Gated()
    with queue_of(experiment_runner) as queue:
        first = asyncio.ensure_future(queue.answer(ExperimentKey(1, "slow"), None))
        await until(lambda: experiment_runner.ran)
        equal = [asyncio.ensure_future(queue.answer(ExperimentKey(1, "matrix", (("k", 2),)), None)) for _ in range(4)]
        other = asyncio.ensure_future(queue.answer(ExperimentKey(1, "matrix", (("k", 3),)), None))
        await until(lambda: queue.waiting == 5)
        experiment_runner.open.set()
        answers = await asyncio.gather(first, *equal, other)
    assert [answer.result for answer in answers] == [b"slow of 1"] + [b"matrix of 1"] * 5
    assert experiment_runner.ran == [
        ExperimentKey(1, "slow"),
        ExperimentKey(1, "matrix", (("k", 2),)),
        ExperimentKey(1, "matrix", (("k", 3),)),
    ]


async def test_equal_call_waits_for_the_running_call() -> None:
    experiment_runner = Gated()
    with queue_of(experiment_runner) as queue:
        first = asyncio.ensure_future(queue.answer(ExperimentKey(1, "matrix"), None))
        await until(lambda: experiment_runner.ran)
        second = asyncio.ensure_future(queue.answer(ExperimentKey(1, "matrix"), None))
        await until(lambda: queue.waiting == 1)
        experiment_runner.open.set()
        assert [answer.result for answer in await asyncio.gather(first, second)] == [b"matrix of 1"] * 2
    assert len(experiment_runner.ran) == 1


async def test_more_than_may_wait_are_rejected_immediately() -> None:
    experiment_runner = Gated()
    with queue_of(experiment_runner, max_experiments=2) as queue:
        running = asyncio.ensure_future(queue.answer(ExperimentKey(1, "a"), None))
        await until(lambda: experiment_runner.ran)
        waiting = [asyncio.ensure_future(queue.answer(ExperimentKey(1, name), None)) for name in "bc"]
        await until(lambda: queue.waiting == 2)
        with pytest.raises(OverloadedError, match="experiments queue is full") as caught:
            await queue.answer(ExperimentKey(1, "d"), None)
        assert caught.value.retry_after > 0
        experiment_runner.open.set()
        await asyncio.gather(running, *waiting)
        assert (await queue.answer(ExperimentKey(1, "d"), None)).result == b"d of 1"


async def test_experiments_that_expired_or_were_canceled_are_not_run() -> None:
    experiment_runner = Gated()
    with queue_of(experiment_runner) as queue:
        running = asyncio.ensure_future(queue.answer(ExperimentKey(1, "a"), None))
        await until(lambda: experiment_runner.ran)
        late = asyncio.ensure_future(queue.answer(ExperimentKey(1, "late"), time.monotonic() - 1))
        gone = asyncio.ensure_future(queue.answer(ExperimentKey(1, "gone"), None))
        await until(lambda: queue.waiting == 2)
        gone.cancel()
        await asyncio.wait([gone])
        experiment_runner.open.set()
        with pytest.raises(ExpiredError):
            await late
        await running
    assert experiment_runner.ran == [ExperimentKey(1, "a")]


async def test_error_reaches_everybody_and_is_not_kept() -> None:
    experiment_runner = Gated()
    experiment_runner.open.set()
    with queue_of(experiment_runner) as queue:
        for _ in range(2):
            with pytest.raises(NotFoundError, match="no such thing"):
                await queue.answer(ExperimentKey(1, "wrong"), None)
        assert (await queue.answer(ExperimentKey(1, "right"), None)).result == b"right of 1"
    assert [asked.name for asked in experiment_runner.ran] == ["wrong", "wrong", "right"]


async def test_experiment_answers_are_cached_per_generation() -> None:
    experiment_runner = Gated()
    experiment_runner.open.set()
    with queue_of(experiment_runner) as queue:
        for generation in (1, 1, 2, 2, 1):
            answer = await queue.answer(ExperimentKey(generation, "matrix"), None)
            assert answer.result == f"matrix of {generation}".encode()
    assert [asked.generation for asked in experiment_runner.ran] == [1, 2, 1]


def test_result_cache_stays_within_its_limit() -> None:
    kept = ResultCache(10 + 2 * ENTRY_OVERHEAD_BYTES)
    for name in "abc":
        kept.add(ExperimentKey(1, name), b"1234")
        kept.get(ExperimentKey(1, "a"))
    assert [kept.get(ExperimentKey(1, name)) is not None for name in "abc"] == [True, False, True]
    kept.add(ExperimentKey(1, "large"), b"x" * (11 + ENTRY_OVERHEAD_BYTES))
    assert kept.get(ExperimentKey(1, "large")) is None
    assert kept.get(ExperimentKey(1, "a")) is not None
    assert kept.size == 2 * (4 + ENTRY_OVERHEAD_BYTES)
    kept.add(ExperimentKey(2, "a"), b"12345")
    assert (kept.size, kept.get(ExperimentKey(1, "a"))) == (5 + ENTRY_OVERHEAD_BYTES, None)
