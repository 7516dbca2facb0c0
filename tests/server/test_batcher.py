from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike_indexer.errors import DeviceError
from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batch_queue import BatchQueue
from lookalike_server.batching.batcher import Rules
from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.waiting import Entry, Piece
from lookalike_server.common.errors import ExpiredError, OverloadedError


class Device:
    """Converts words to upper case; blocks while `gate` is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []

    def __call__(self, batch: list[str]) -> list[str | Exception]:
        self.batches.append(batch)
        self.entered.release()
        assert self.gate.wait(60)
        if "raise" in batch:
            raise ZeroDivisionError("broken")
        return [ValueError(word) if word == "bad" else word.upper() for word in batch]


RULES: Rules[str] = Rules(key=lambda word: len(word) // 10, size=lambda word: 1, max_batch=4, max_queue=6)


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.gate.set()


@pytest.fixture
def batcher(device: Device) -> Iterator[AwaitedBatcher[str, str]]:
    batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"only": device}, RULES)
    yield batcher
    device.gate.set()
    batcher.close()
    batcher.join(60)


async def occupy(batcher: AwaitedBatcher[str, str], device: Device) -> asyncio.Future[object]:
    """Submit one request and wait until the device is busy with it and blocks."""
    device.gate.clear()
    first = asyncio.ensure_future(batcher.submit("first"))
    while not device.entered.acquire(blocking=False):
        await asyncio.sleep(0.001)
    return first


def submit_all(batcher: AwaitedBatcher[str, str], words: list[str]) -> list[asyncio.Future[object]]:
    return [asyncio.ensure_future(batcher.submit(word)) for word in words]


async def test_idle_device_runs_an_entry_immediately(batcher, device) -> None:
    answers = [await batcher.submit("a") for _ in range(20)]
    assert {(answer.result, answer.worker, answer.size) for answer in answers} == {("A", "only", 1)}
    # The minimum of many: on a busy machine any of them may have waited for a processor.
    assert min(answer.queue_us for answer in answers) < 100_000


async def test_entries_queued_while_busy_share_batches_up_to_the_maximum(batcher, device) -> None:
    first = await occupy(batcher, device)
    rest = submit_all(batcher, list("abcdef"))
    await asyncio.sleep(0.01)
    device.gate.set()
    answers = await asyncio.gather(first, *rest)
    assert [answer.result for answer in answers] == ["FIRST", *"ABCDEF"]
    assert device.batches == [["first"], list("abcd"), list("ef")]
    assert [answer.size for answer in answers] == [1, 4, 4, 4, 4, 2, 2]


async def test_only_what_fits_together_shares_a_batch_and_the_oldest_goes_first(batcher, device) -> None:
    first = await occupy(batcher, device)
    rest = submit_all(batcher, ["a", "long word number one", "b", "long word number two"])
    await asyncio.sleep(0.01)
    device.gate.set()
    await asyncio.gather(first, *rest)
    assert device.batches[1:] == [["a", "b"], ["long word number one", "long word number two"]]


async def test_full_queue_rejects_until_it_empties(batcher, device) -> None:
    first = await occupy(batcher, device)
    rest = submit_all(batcher, list("abcdef"))
    await asyncio.sleep(0.01)
    assert batcher.waiting == 6
    with pytest.raises(OverloadedError) as caught:
        await batcher.submit("g")
    assert caught.value.retry_after >= 0.05
    device.gate.set()
    await asyncio.gather(first, *rest)
    assert batcher.waiting == 0
    assert (await batcher.submit("g")).result == "G"


async def test_cancelling_leaves_the_queue_immediately(batcher, device) -> None:
    first = await occupy(batcher, device)
    rest = submit_all(batcher, list("abcdef"))
    await asyncio.sleep(0.01)
    for waiter in rest[1:]:
        waiter.cancel()
    await asyncio.sleep(0.01)
    assert batcher.waiting == 1
    device.gate.set()
    await asyncio.gather(first, rest[0])
    assert device.batches == [["first"], ["a"]]


async def test_canceling_a_running_entry_does_not_affect_others(batcher, device) -> None:
    first = await occupy(batcher, device)
    first.cancel()
    second = asyncio.ensure_future(batcher.submit("a"))
    await asyncio.sleep(0.01)
    device.gate.set()
    assert (await second).result == "A"
    assert batcher.waiting == 0


async def test_expired_items_are_dropped_and_reported(batcher, device) -> None:
    first = await occupy(batcher, device)
    late = asyncio.ensure_future(batcher.submit("late", time.monotonic() + 0.02))
    in_time = asyncio.ensure_future(batcher.submit("a", time.monotonic() + 60))
    await asyncio.sleep(0.05)
    device.gate.set()
    with pytest.raises(ExpiredError):
        await late
    assert (await in_time).result == "A"
    await first
    assert device.batches == [["first"], ["a"]]


async def test_queue_of_only_expired_entries_runs_no_batch(batcher, device) -> None:
    with pytest.raises(ExpiredError):
        await batcher.submit("late", time.monotonic() - 1)
    assert device.batches == []
    assert (await batcher.submit("a")).result == "A"


async def test_failing_batch_answers_all_its_waiters_and_the_thread_lives_on(batcher, device) -> None:
    first = await occupy(batcher, device)
    rest = submit_all(batcher, ["a", "raise", "b"])
    await asyncio.sleep(0.01)
    device.gate.set()
    results = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [type(result) for result in results[1:]] == [ZeroDivisionError] * 3
    assert (await batcher.submit("c")).result == "C"


async def test_one_result_can_be_an_error(batcher, device) -> None:
    first = await occupy(batcher, device)
    rest = submit_all(batcher, ["a", "bad"])
    await asyncio.sleep(0.01)
    device.gate.set()
    _, good, bad = await asyncio.gather(first, *rest, return_exceptions=True)
    assert good.result == "A"
    assert isinstance(bad, ValueError)


async def test_wrong_number_of_results_is_an_error_for_all() -> None:
    batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"only": lambda batch: []}, RULES)
    with pytest.raises(RuntimeError, match="0 results"):
        await batcher.submit("a")
    batcher.close()


async def test_several_workers_share_one_queue() -> None:
    devices = [Device(), Device()]
    batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"one": devices[0], "two": devices[1]}, RULES)
    for device in devices:
        device.gate.clear()
    works = submit_all(batcher, ["a", "long word number one"])
    for device in devices:
        while not device.entered.acquire(blocking=False):
            await asyncio.sleep(0.001)
    for device in devices:
        device.gate.set()
    assert {answer.worker for answer in await asyncio.gather(*works)} == {"one", "two"}
    batcher.close()


async def test_closing_rejects_what_waits_and_what_comes(batcher, device) -> None:
    first = await occupy(batcher, device)
    waiting = asyncio.ensure_future(batcher.submit("a"))
    await asyncio.sleep(0.01)
    batcher.close()
    device.gate.set()
    assert (await first).result == "FIRST"
    with pytest.raises(DeviceError):
        await waiting
    with pytest.raises(DeviceError):
        await batcher.submit("b")
    batcher.join(60)


async def test_closed_batcher_holds_nothing() -> None:
    device = Device()
    seen = weakref.ref(device)
    batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"only": device}, RULES)
    await batcher.submit("a")
    batcher.close()
    batcher.join(60)
    del batcher, device
    gc.collect()
    assert seen() is None


async def test_work_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    device = Device()
    rules: Rules[str] = Rules(key=lambda word: 0, size=len, max_batch=4, max_queue=6)
    batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"only": device}, rules)
    assert (await batcher.submit("x" * 50)).result == "X" * 50
    batcher.close()


async def test_each_owner_thread_is_prepared_once() -> None:
    prepared: list[str] = []
    batcher: AwaitedBatcher[str, str] = AwaitedBatcher(
        "word", {"only": Device()}, RULES, lambda: prepared.append(threading.current_thread().name)
    )
    await batcher.submit("a")
    await batcher.submit("b")
    batcher.close()
    assert prepared == ["word/only"]


def test_answer_for_a_closed_event_loop_does_not_end_the_thread() -> None:
    device = Device()
    batcher: AwaitedBatcher[str, str] = AwaitedBatcher("word", {"only": device}, RULES)

    async def leave() -> None:
        (await occupy(batcher, device)).cancel()

    asyncio.run(leave())
    device.gate.set()
    assert asyncio.run(batcher.submit("a")).result == "A"
    batcher.close()


def slow_rules(max_age: float) -> Rules[str]:
    return Rules(key=lambda word: 0, size=lambda word: 1, max_batch=100, max_queue=1000, max_age=max_age)


def entry_of(size: int = 1, key: int = 0, queued: float = 0.0) -> Entry[str, str]:
    return Entry("a", size, 0, key, None, queued)


def queue_at(pace_s: float, max_age: float, waiting: int) -> BatchQueue[str, str]:
    """Return a queue of one worker with a fixed time for each request."""
    queue: BatchQueue[str, str] = BatchQueue("word", slow_rules(max_age), LatencyModel(1))
    for _ in range(waiting):
        queue.add(entry_of())
    for size in (10, 20, 10):
        queue.latency.record(size, size * pace_s)
    return queue


def test_calls_with_too_long_an_estimated_wait_are_rejected_with_retry_after() -> None:
    queue_at(0.1, 2.0, 10).add(entry_of())
    with pytest.raises(OverloadedError, match="is longer than 1 s") as caught:
        queue_at(0.1, 2.0, 11).add(entry_of())
    assert caught.value.retry_after == pytest.approx(1.1)
    # With any estimated latency, a request is taken if nothing waits; this is how lower latencies become known.
    queue_at(100.0, 2.0, 0).add(entry_of())


def test_estimated_wait_includes_the_running_batch() -> None:
    queue = queue_at(0.1, 2.0, 5)
    queue.next_batch("only", now=0.0)
    for _ in range(6):
        queue.add(entry_of(queued=0.0))
    with pytest.raises(OverloadedError) as caught:
        queue.add(entry_of(queued=0.0))
    assert caught.value.retry_after == pytest.approx(0.5 + 0.6)
    queue.add(entry_of(queued=0.4))
    # It should have ended 0.6 s ago, so it is expected to take as long again.
    with pytest.raises(OverloadedError) as caught:
        queue.add(entry_of(queued=1.1))
    assert caught.value.retry_after == pytest.approx(0.6 + 0.7)
    queue.record_run("only", 0.5)
    queue.add(entry_of(queued=1.1))


def test_behind_a_running_batch_an_entry_waits_up_to_the_limit() -> None:
    queue = queue_at(0.1, 2.0, 1)
    queue.next_batch("only", now=0.0)
    with pytest.raises(OverloadedError, match="is longer than 2 s"):
        queue.add(entry_of(queued=2.3))
    queue.add(entry_of(queued=1.9))
    # A thread that ended, and its replacement, which waits for work.
    queue.clear()
    queue.mark_idle("only")
    queue.add(entry_of(queued=60.0))


def test_hung_worker_does_not_block_other_workers() -> None:
    latency = LatencyModel(3)
    for size in (10, 20, 10):
        latency.record(size, size * 0.1)
    hung = (10, 500.0)
    assert latency.wait_s(0, 0, [hung]) == 0
    assert latency.wait_s(10, 1, [hung]) == pytest.approx(0.5), "the two others share it"
    assert latency.wait_s(10, 1, [hung, (10, 0.4)]) == pytest.approx((1.0 + 0.6) / 2)
    assert latency.wait_s(10, 1, [hung, (10, 500.0), (10, 0.4)]) == pytest.approx(0.6 + 1.0)
    assert latency.wait_s(0, 0, [hung] * 3) == pytest.approx(499.0)


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_no_entry_is_rejected_after_waiting_at_five_times_the_capacity(slower: float) -> None:
    """Two minutes by the test's own clock; in the second one the worker is slower."""
    rate, capacity, seconds = 750, 150, 120
    queue: BatchQueue[str, str] = BatchQueue("word", slow_rules(2.0), LatencyModel(1))
    refused = answered = 0
    running: list[Piece[str, str]] = []
    began = ends = 0.0
    for number in range(seconds * rate):
        now = number / rate
        while running and ends <= now:
            queue.record_run("only", ends - began)
            answered += len(running)
            began = ends
            running, late = queue.next_batch("only", began)
            assert not late
            ends += (0.02 + len(running) / capacity) * (slower if now > seconds / 2 else 1)
        try:
            queue.add(entry_of(queued=now))
        except OverloadedError:
            refused += 1
        if not running:
            began = now
            running, _ = queue.next_batch("only", began)
            ends = began + 0.02 + len(running) / capacity
    assert answered > 0.9 * seconds * capacity * (1 + 1 / slower) / 2
    assert refused + answered + queue.waiting + len(running) == seconds * rate


def test_batch_takes_no_longer_than_half_of_what_others_may_wait() -> None:
    for pace_s, size in ((0.1, 10), (0.001, 60), (5.0, 1)):
        batch, refused = queue_at(pace_s, 2.0, 60).next_batch("only", now=0.0)
        assert (len(batch), refused) == (size, [])


def scan_queue(fixed_s: float, each_s: float, max_age: float) -> BatchQueue[str, str]:
    """Return a queue of one worker with a fixed time for a batch, and for each request in it."""
    queue: BatchQueue[str, str] = BatchQueue("word", slow_rules(max_age), LatencyModel(1))
    for size in (1, 80, 1):
        queue.latency.record(size, fixed_s + size * each_s)
    return queue


def test_large_scans_of_constant_cost_are_not_rejected() -> None:
    # After one scan of a single query in 0.2 s, a per-query estimate would be 40 s for two scans of 100.
    first: BatchQueue[str, str] = BatchQueue("word", slow_rules(2.0), LatencyModel(1))
    first.latency.record(1, 0.2)
    for _ in range(4):
        first.add(entry_of(100))
    for _ in range(4):
        batch, _ = first.next_batch("only", 0.0)
        assert len(batch) == 1
        first.record_run("only", 0.2)

    known = scan_queue(0.2, 0.001, 2.0)
    for _ in range(4):
        known.add(entry_of(100))
    # Four batches of 0.3 s exceed the longest estimated wait of 1 s.
    with pytest.raises(OverloadedError, match="is longer than 1 s") as caught:
        known.add(entry_of(100))
    assert caught.value.retry_after == pytest.approx(1.2, rel=0.01)
    # A much cheaper request does not wait behind them.
    known.add(entry_of(1))


def test_batches_of_constant_cost_are_not_kept_small() -> None:
    queue = queue_at(0.0, 2.0, 60)
    queue.latency = scan_queue(3.0, 0.1, 2.0).latency
    assert len(queue.next_batch("only", 0.0)[0]) == 30, "as long for the works as for the batch"


def test_incompatible_batches_run_in_turn() -> None:
    queue: BatchQueue[str, str] = BatchQueue("word", slow_rules(2.0), LatencyModel(1))
    queue.latency.record(1, 0.2)
    for key in range(6):
        queue.add(entry_of(key=key))
    with pytest.raises(OverloadedError, match="behind 6 queued calls"):
        queue.add(entry_of())
    for left in (5, 4, 3, 2, 1, 0):
        queue.next_batch("only", 0.0)
        queue.record_run("only", 0.2)
        assert queue.waiting == left
    queue.add(entry_of())
    assert [one.key for one in queue.clear()] == [0]
    assert (queue.waiting, queue._loads.all(1)) == (0, (0, 0, 0))


def test_latency_model_follows_measurements() -> None:
    latency = LatencyModel(2)
    assert latency.wait_s(100, 1) == 0
    latency.record(0, 60.0)
    assert latency.wait_s(100, 1) == 0, "opening a network is no query"
    latency.record(10, 1.0)
    assert latency.wait_s(100, 10) == pytest.approx(5.0), "two workers"
    for size in (10, 20, 30) * 20:
        latency.record(size, 0.1 + 0.01 * size)
    assert latency.batch_s == pytest.approx(0.1, rel=0.01)
    assert latency.unit_s == pytest.approx(0.01, rel=0.01)
    assert latency.wait_s(100, 10) == pytest.approx(1.0, rel=0.01)


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 100)), max_size=30), st.floats(0.01, 100))
def test_latency_model_stays_valid_for_any_batch(batches: list[tuple[int, float]], seconds: float) -> None:
    latency = LatencyModel(1)
    for size, took in batches:
        latency.record(size, took)
    longest = max([took for size, took in batches if size], default=0.0)
    assert latency.unit_s >= 0
    assert 0 <= latency.batch_s <= longest * (1 + 1e-9)
    assert latency.within(seconds) >= 1
