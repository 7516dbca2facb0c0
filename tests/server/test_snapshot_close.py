"""Closing a generation, which the event loop does."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lookalike_server.generation.snapshot import Snapshot


def snapshot_of(release: Any, is_local: bool) -> Snapshot:
    snapshot = cast("Any", Snapshot.__new__(Snapshot))
    snapshot.reader = SimpleNamespace(storage=SimpleNamespace(is_local=is_local), release=release)
    snapshot.spaces, snapshot.shared = {}, None
    return cast("Snapshot", snapshot)


def test_closing_does_not_wait_for_an_object_store() -> None:
    answers, released = threading.Event(), threading.Event()

    def release() -> None:
        answers.wait(60)
        released.set()

    snapshot_of(release, is_local=False).close()
    assert not released.is_set()
    answers.set()
    assert released.wait(60)


@pytest.mark.parametrize("count", [1, 2])
def test_local_generation_is_released_when_closed(count: int) -> None:
    calls: list[int] = []
    for _ in range(count):
        snapshot_of(lambda: calls.append(1), is_local=True).close()
    assert len(calls) == count
