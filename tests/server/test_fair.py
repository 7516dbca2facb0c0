"""Turns and pieces, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike_server.batching.batch_queue import BatchQueue
from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.turns import Turns
from lookalike_server.batching.waiting import Entry, Rules
from lookalike_server.common.errors import OverloadedError

_BATCH_S, _UNIT_S = 0.002, 0.001


def rules(max_queue: int = 10_000, cut_to: float = 0.1) -> Rules[range]:
    return Rules(
        key=lambda work: 0, size=len, max_batch=256, max_queue=max_queue, max_age=60.0,
        cut=lambda work, start, stop: work[start:stop], cut_to=cut_to,
    )  # fmt: skip


def queue_of(given: Rules[range]) -> BatchQueue[range, None]:
    """Return a queue that knows the latency of its worker."""
    queue: BatchQueue[range, None] = BatchQueue("word", given, LatencyModel(1))
    for size in (1, 64, 256):
        queue.latency.record(size, _BATCH_S + size * _UNIT_S)
    return queue


def entry_of(peer: str, size: int, queued: float = 0.0) -> Entry[range, None]:
    return rules().entry(range(size), peer, None, queued)


def run(queue: BatchQueue[range, None], now: float) -> tuple[float, list[tuple[str, int, bool]]]:
    """Run a batch; return its end, and for each piece the peer, the size, and whether it was its call's last."""
    pieces, _ = queue.next_batch("only", now)
    size = sum(piece.stop - piece.start for piece in pieces)
    seconds = _BATCH_S + size * _UNIT_S
    queue.record_run("only", seconds)
    told = [(piece.entry.peer, piece.stop - piece.start, piece.stop == piece.entry.size) for piece in pieces]
    return now + seconds, told


def test_peers_share_processor_time_at_any_call_size() -> None:
    queue = queue_of(rules())
    sizes = {"of 256": 256, "of 32": 32, "of 1": 1}
    served: Counter[str] = Counter()
    now = 0.0
    while now < 20.0:
        for peer, size in sizes.items():
            flow = queue._fair.flow(peer)
            while flow.size < 512:
                queue.add(entry_of(peer, size, now))
        now, told = run(queue, now)
        for peer, units, _ in told:
            served[peer] += units
    assert min(served.values()) > 0.8 * max(served.values()), served


def test_returning_peer_has_no_saved_turns() -> None:
    queue = queue_of(rules())
    now = 0.0
    while now < 5.0:
        if queue.waiting < 256:
            queue.add(entry_of("busy", 256, now))
        now, _ = run(queue, now)
    for _ in range(30):
        queue.add(entry_of("back", 256, now))
        queue.add(entry_of("busy", 256, now))
    served: Counter[str] = Counter()
    for _ in range(20):
        now, told = run(queue, now)
        for peer, units, _ in told:
            served[peer] += units
    assert served["busy"] == pytest.approx(served["back"], rel=0.25)


def test_heavy_calls_at_most_double_the_batch_of_a_light_call() -> None:
    queue = queue_of(rules())
    for _ in range(8):
        queue.add(entry_of("one", 256))
    queue.add(entry_of("one", 4, queued=0.5))
    _, told = run(queue, 0.5)
    assert told[0] == ("one", 4, True)
    assert _BATCH_S + sum(units for _, units, _ in told) * _UNIT_S <= 2 * (_BATCH_S + 4 * _UNIT_S) * 1.01


def test_large_call_is_overtaken_for_a_bounded_time() -> None:
    queue = queue_of(rules())
    large = entry_of("one", 200)
    queue.add(large)
    now, passed = 0.0, 0
    while large.left:
        while queue.waiting - large.left < 256:
            queue.add(entry_of("one", 16, now))
        now, told = run(queue, now)
        passed += sum(units == 16 for _, units, _ in told)
        assert now < 2 * 16 * (_BATCH_S + 200 * _UNIT_S), "it waits for ever"
    assert passed > 20


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 600)), max_size=40), st.floats(0.001, 1.0))
def test_every_unit_is_run_once_and_nothing_is_left_over(calls: list[tuple[str, int]], cut_to: float) -> None:
    queue = queue_of(rules(10**9, cut_to))
    asked = Counter({peer: 0 for peer, _ in calls})
    for peer, size in calls:
        queue.add(entry_of(peer, size))
        asked[peer] += size
    served: Counter[str] = Counter()
    while queue:
        _, told = run(queue, 0.0)
        assert told, "each turn runs something"
        for peer, units, _ in told:
            served[peer] += units
    assert served == asked
    assert (queue.waiting, queue.weight, queue._loads.all(1)) == (0, 0, (0, 0, 0))


def test_queue_of_all_peers_is_bounded_and_a_lone_peer_is_admitted() -> None:
    queue = queue_of(rules(max_queue=100))
    taken = 0
    for peer in range(200):
        for _ in range(20):
            try:
                queue.add(entry_of(f"peer {peer}", 10))
                taken += 10
            except OverloadedError:
                pass
    assert 400 <= taken <= 100 * 4 * 6
    queue.add(entry_of("lone", 1))


async def test_canceled_turn_goes_to_the_next() -> None:
    turns = Turns("work", 1, 10)
    order: list[str] = []

    async def hold(name: str) -> None:
        async with turns.turn():
            order.append(name)

    async with turns.turn():
        tasks = [asyncio.create_task(hold(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        assert turns.waiting == 3
    # The first peer has had its turn, but has not run since.
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["second"]
    assert turns.waiting == 0
    async with turns.turn():
        assert turns.waiting == 1
