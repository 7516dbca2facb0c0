"""The engine alone: arrays in, arrays out, for callers with a ticket and an inbox."""

from __future__ import annotations

import ast
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

import lookalike_server
from lookalike_server.common.limits import Limits
from lookalike_server.search.effort import Effort

from .conftest import random_vectors


class Inbox:
    """Keeps the results that it gets."""

    def __init__(self) -> None:
        self.deliveries: SimpleQueue[Any] = SimpleQueue()

    def put(self, answers: Any) -> None:
        self.deliveries.put(list(answers))


async def test_answers_come_with_the_tickets_of_their_searches(make_toy, serve) -> None:
    toy = make_toy(index="IVF16,Flat")
    queries = random_vectors(6, seed=3)
    async with serve(toy) as served:
        space = served.app.current.snapshot.space()
        plan = space.planner.plan(Effort(exact=True), Limits())
        inbox = Inbox()
        for ticket in range(6):
            space.engine.put(queries[ticket : ticket + 1], 3 + ticket, plan, None, 100 + ticket, inbox)
        found: dict[int, Any] = {}
        while len(found) < 6:
            found |= dict(inbox.deliveries.get(timeout=60))
        ids, distances = toy.brute_force(queries, 8)
        for ticket, answer in found.items():
            line, hits = ticket - 100, answer.result
            assert hits.rows.shape == hits.distances.shape == (1, 3 + line)
            assert (hits.rows.dtype, hits.distances.dtype) == (np.int64, np.float32)
            np.testing.assert_array_equal(space.images.ids[hits.rows[0]], ids[line, : 3 + line])
            np.testing.assert_allclose(hits.distances[0], distances[line, : 3 + line], atol=2e-6)
        alone = space.engine.search(queries, 8, plan)
        np.testing.assert_array_equal(space.images.ids[alone.rows], ids)


async def test_withdrawn_search_is_not_run(make_toy, serve) -> None:
    toy = make_toy()
    async with serve(toy) as served:
        engine = served.app.current.snapshot.space().engine
        plan = served.app.current.snapshot.space().planner.plan(Effort(), Limits())
        inbox = Inbox()
        # As large as many batches, so that its last piece waits.
        queued = engine.put(random_vectors(Limits().max_batch * 8), 10, plan, None, 1, inbox)
        engine.withdraw(queued)
        engine.put(random_vectors(1), 10, plan, None, 2, inbox)
        assert [ticket for ticket, _ in inbox.deliveries.get(timeout=60)] == [2]
        assert engine.waiting == {"search": 0, "scan": 0}


@pytest.mark.parametrize("room", ["search", "placement", "columns", "batching"])
def test_engine_knows_neither_the_wire_nor_an_event_loop(room) -> None:
    forbidden = {"grpc", "google", "lookalike", "asyncio"}
    # Calls from an event loop enter through these methods.
    front = {"awaited.py", "turns.py", "workers.py"}
    for file in sorted((Path(lookalike_server.__file__).parent / room).glob("*.py")):
        if file.name not in front:
            assert not imported(file) & forbidden, f"{room}/{file.name}"


def imported(file: Path) -> set[str]:
    """Return the packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names
