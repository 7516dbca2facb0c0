from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.server.observe.test_metrics import samples, value

from lookalike.v1 import filter_pb2, search_pb2
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_server.columns.rows import Rows
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.observe import audit
from lookalike_server.observe.audit import RecallAudit, Sample, recall

AUDITED = ObserveSettings(metrics_port=0, audit_share=1.0)


def sample(toy: Any, row: int, found: list[int], **changes: Any) -> Sample:
    reader = CollectionReader.open(str(toy.root))
    given = {
        "reader": reader,
        "numbered": Rows(reader, reader.manifest.indexes["tiny/main"], reader.ids("tiny")),
        "entry": reader.manifest.indexes["tiny/main"],
        "query": toy.vectors[row],
        "rows": np.array(found),
        "effort": "default",
        "expected": 0.9,
    }
    return Sample(**{**given, **changes})


def rows_of(toy: Any, row: int, k: int) -> list[int]:
    ids, _ = toy.brute_force(toy.vectors[row : row + 1], k)
    return [int(one - 5) // 2 for one in ids[0]]


@pytest.fixture
def auditing() -> Iterator[Callable[..., RecallAudit]]:
    """Make audits that end with their test."""
    made: list[RecallAudit] = []

    def make(*arguments: Any, **settings: Any) -> RecallAudit:
        made.append(RecallAudit(*arguments, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Counted:
    def __init__(self) -> None:
        self.outcomes: list[tuple[str, int]] = []

    def __call__(self, outcome: str, queries: int) -> None:
        self.outcomes.append((outcome, queries))


async def test_live_recall_equals_brute_force(make_toy, serve, by_vector) -> None:
    """With every call audited, the gauge is the mean recall of the callers' actual results."""
    toy = make_toy(index="IVF16,Flat", default_nprobe=2)
    queries = np.random.default_rng(5).standard_normal((40, 16)).astype(np.float32)
    true, _ = toy.brute_force(queries, 10)
    async with serve(toy, observe=AUDITED) as served:
        recalls = []
        for query, wanted in zip(queries, true, strict=True):
            reply = await served.neighbors(by_vector(query[None]), 10)
            got = np.frombuffer(reply.neighbors.ids.data, "<i8")
            recalls.append(np.isin(wanted, got).mean())
            # One at a time, so that none is dropped.
            assert await asyncio.to_thread(served.app.first.audit.wait_until_done, 60)
        found = await samples(served)
    labels = {"space": "tiny", "effort": "default", "filtered": "false"}
    assert 0.2 < np.mean(recalls) < 0.99, "a toy that misses some"
    assert value(found, "lookalike_recall_at_k", **labels) == pytest.approx(np.mean(recalls))
    assert value(found, "lookalike_recall_queries", **labels) == 40
    assert value(found, "lookalike_recall_expected", **labels) == pytest.approx(0.7)
    assert value(found, "lookalike_recall_audits_total", outcome="searched") == 40


async def test_filtered_queries_are_audited_among_what_matches(make_toy, serve, by_vector) -> None:
    toy = make_toy(index="IVF16,Flat", default_nprobe=1)
    queries = np.random.default_rng(5).standard_normal((20, 16)).astype(np.float32)
    true, _ = toy.brute_force(queries, 500)
    matching = filter_pb2.Filter(text="label = 'label1'")
    async with serve(toy, observe=AUDITED) as served:
        recalls = []
        for query, order in zip(queries, true, strict=True):
            reply = await served.neighbors(by_vector(query[None]), 5, filter=matching)
            got = np.frombuffer(reply.neighbors.ids.data, "<i8")
            recalls.append(np.isin(order[order % 3 == 1][:5], got).mean())
            assert await asyncio.to_thread(served.app.first.audit.wait_until_done, 60)
        found = await samples(served)
    assert np.mean(recalls) > 0.2
    labels = {"space": "tiny", "effort": "default", "filtered": "true"}
    assert value(found, "lookalike_recall_at_k", **labels) == pytest.approx(np.mean(recalls))
    assert value(found, "lookalike_recall_queries", **labels) == 20


async def test_efforts_are_distinguished_and_exact_searches_not_audited(make_toy, serve, by_vector) -> None:
    toy = make_toy(index="IVF16,Flat", default_nprobe=2)
    query = by_vector(toy.vectors[:1])
    async with serve(toy, observe=AUDITED) as served:
        for effort in ({"nprobe": 16}, {"recall": 0.9}, {"exact": True}, {}):
            await served.search.Search(search_pb2.SearchRequest(query=query, k=3, **effort))
        assert await asyncio.to_thread(served.app.first.audit.wait_until_done, 60)
        results = served.app.first.audit.results()
    assert [(one.effort, one.queries) for one in results] == [("default", 1), ("nprobe", 1), ("recall", 1)]
    by_effort = {one.effort: one for one in results}
    assert (by_effort["nprobe"].recall, by_effort["nprobe"].expected) == (1.0, None)
    assert by_effort["recall"].expected == pytest.approx(0.95)


async def test_exact_index_is_logged_once_without_results(make_toy, serve, by_vector, caplog) -> None:
    toy = make_toy(index="Flat", default_nprobe=0)
    caplog.set_level("INFO", "lookalike_server.observe.audit")
    async with serve(toy, observe=AUDITED) as served:
        for _ in range(2):
            await served.neighbors(by_vector(toy.vectors[:1]), 3)
        assert served.app.first.audit.results() == []
    told = [record.getMessage() for record in caplog.records if record.name == "lookalike_server.observe.audit"]
    assert told == ["every search of tiny is exact: its recall is 1, and the audit has no results of it"]


def test_share_of_the_queries_is_chosen_and_each_of_a_call_alike(auditing) -> None:
    taken = auditing(0.05, lambda: True, seed=1)
    chosen = [taken.sample_query(4) for _ in range(10_000)]
    counts = np.bincount([one for one in chosen if one is not None], minlength=4)
    assert 1800 < counts.sum() < 2200, "0.05 of 40,000 queries"
    assert counts.min() > 400
    assert auditing(0.0, lambda: True).sample_query(256) is None


def test_nothing_is_read_under_load_and_the_samples_are_dropped(auditing, make_toy) -> None:
    toy, counted = make_toy(index="IVF8,Flat"), Counted()
    looks = []
    taken = auditing(1.0, lambda: bool(looks.append(1)), counted, timeout_s=0.05)
    taken.offer(sample(toy, 0, [0]))
    assert taken.wait_until_done(60)
    assert counted.outcomes == [("dropped", 1)]
    assert taken.results() == []
    assert looks


def test_audit_waits_for_idle_moments(auditing, make_toy) -> None:
    toy, counted = make_toy(index="IVF8,Flat"), Counted()
    idle = threading.Event()
    taken = auditing(1.0, idle.is_set, counted, timeout_s=60)
    taken.offer(sample(toy, 0, rows_of(toy, 0, 5)))
    assert not taken.wait_until_done(0.05)
    idle.set()
    assert taken.wait_until_done(60)
    assert [(one.queries, one.recall) for one in taken.results()] == [(1, 1.0)]


def test_no_more_than_a_bounded_number_waits(auditing, make_toy, monkeypatch) -> None:
    monkeypatch.setattr(audit, "_PENDING", 3)
    toy, counted = make_toy(index="IVF8,Flat"), Counted()
    idle = threading.Event()
    taken = auditing(1.0, idle.is_set, counted, timeout_s=60)
    taken.offer(sample(toy, 0, [0]))
    # Those that arrive while the first is running; its own place is free again.
    for row in range(1, 8):
        taken.offer(sample(toy, row, [row]))
    idle.set()
    assert taken.wait_until_done(60)
    searched = sum(queries for outcome, queries in counted.outcomes if outcome == "searched")
    dropped = sum(queries for outcome, queries in counted.outcomes if outcome == "dropped")
    assert searched + dropped == 8
    assert 3 <= searched <= 4


def test_new_index_resets_the_audit_and_ignores_old_samples(auditing, make_toy) -> None:
    toy = make_toy(index="IVF8,Flat")
    old = [sample(toy, 0, [0]), sample(toy, 1, [1])]
    make_toy(index="IVF8,Flat")
    new = sample(toy, 2, rows_of(toy, 2, 4))
    taken = auditing(1.0, lambda: True)
    for one in (old[0], new, old[1]):
        taken.offer(one)
        assert taken.wait_until_done(60)
    assert [(one.queries, one.recall) for one in taken.results()] == [(1, 1.0)]


def test_failed_audit_is_counted_and_the_next_audit_runs(auditing, make_toy) -> None:
    toy, counted = make_toy(index="IVF8,Flat"), Counted()
    taken = auditing(1.0, lambda: True, counted)
    taken.offer(sample(toy, 0, [0], numbered=SimpleNamespace()))
    assert taken.wait_until_done(60)
    taken.offer(sample(toy, 1, [1]))
    assert taken.wait_until_done(60)
    assert counted.outcomes == [("dropped", 1), ("searched", 1)]


def test_closing_ends_a_waiting_audit(auditing, make_toy) -> None:
    toy, counted = make_toy(index="IVF8,Flat"), Counted()
    taken = auditing(1.0, lambda: False, counted, timeout_s=3600)
    taken.offer(sample(toy, 0, [0]))
    taken.close()
    assert taken.wait_until_done(60)
    assert taken.results() == []


@pytest.mark.parametrize(
    ("found", "exact", "expected"),
    [
        ([1, 2, 3], [3, 2, 1], 1.0),
        ([1, 2, 9], [1, 2, 3], 2 / 3),
        ([1, 2, -1], [1, 2, -1], 1.0),
        ([1, -1, -1], [1, 2, -1], 0.5),
        ([1, 2], [1, 3, 2], 0.5),
        ([-1], [-1], 1.0),
    ],
)
def test_recall_at_k(found, exact, expected) -> None:
    assert recall(np.array(found), np.array(exact)) == pytest.approx(expected)
