"""The generations that a front maps, as the engine process announces them and exits."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from lookalike_server.common.settings import CollectionSettings
from lookalike_server.fronts import front_generations
from lookalike_server.fronts.frames import Kind, as_bytes
from lookalike_server.fronts.front_generations import FrontGenerations
from lookalike_server.fronts.shared_generation import SharedGeneration
from lookalike_server.fronts.shares import Share
from lookalike_server.generation.current import Current


class Mapped:
    """Stand-in for a snapshot of a generation."""

    def __init__(self, generation: int) -> None:
        self.generation, self.base = generation, self
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True
        self.closed()

    def closed(self) -> None:
        pass


def share(generation: int) -> bytes:
    return SharedGeneration(0, "toy", generation, "", "", {}, {}, [], {}).encoded()


async def test_generations_of_an_ended_engine_process_are_closed(monkeypatch) -> None:
    slow, mapped = threading.Event(), {number: Mapped(number) for number in (1, 2, 3)}

    def open_generation(shared: SharedGeneration, opening: Any) -> Mapped:
        if shared.generation == 1:
            slow.wait(60)
        return mapped[shared.generation]

    async def until(condition: Any) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)

    monkeypatch.setattr(front_generations, "open_generation", open_generation)
    sent: list[tuple[Kind, int]] = []
    front = FrontGenerations([CollectionSettings("toy")], lambda kind, number, *body: sent.append((kind, number)))
    front.received(Kind.SHARE, 7, share(2))
    await until(lambda: (Kind.ADOPTED, 7) in sent)
    front.received(Kind.SERVE, 7, as_bytes(0))
    with front.currents[0].lease() as held:
        front.received(Kind.SHARE, 8, share(1))
        await asyncio.sleep(0)
        front.lost()
        # The next engine process counts from the beginning.
        sent.clear()
        front.received(Kind.SHARE, 8, share(3))
        await until(lambda: (Kind.ADOPTED, 8) in sent)
        slow.set()
        await until(lambda: mapped[1].is_closed or sent.count((Kind.ADOPTED, 8)) > 1)
        front.received(Kind.SERVE, 8, as_bytes(0))
        assert front.currents[0].snapshot.generation == 3
        assert held.generation == 2
    assert mapped[2].is_closed
    # It never announced these.
    assert sent == [(Kind.ADOPTED, 8), (Kind.SERVING, 8)]


class Changed(Mapped):
    """Stand-in for a generation with changes."""

    def __init__(self, base: Mapped) -> None:
        super().__init__(base.generation)
        self.base = base


def test_fronts_do_not_serve_a_generation_without_the_latest_change() -> None:
    first: Any = Mapped(1)
    second: Any = Mapped(2)
    current: Any = Current(first)
    served: Any = SimpleNamespace(current=current)
    before, after = Share(1, served, first, b""), Share(2, served, second, b"")
    assert before.is_current
    release = current.hold()
    current.publish(Changed(first))
    assert not before.is_current
    # Until fronts serve the next generation, which contains the change, they use the previous one.
    current.swap(second)
    assert (before.is_current, after.is_current) == (False, True)
    current.publish(Changed(second))
    assert (before.is_current, after.is_current) == (False, False)
    release()

    third: Any = Mapped(3)
    current = Current(third)
    served = SimpleNamespace(current=current)
    unchanged = Share(3, served, third, b"")
    current.hold()
    current.swap(Mapped(4))
    assert unchanged.is_current
    current.publish(Changed(current.snapshot))
    assert not unchanged.is_current
