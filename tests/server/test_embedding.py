from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lookalike_indexer.errors import DecodeError, WeightsError
from lookalike_server.common.errors import OverloadedError
from lookalike_server.common.limits import Limits
from lookalike_server.processes import embedding
from lookalike_server.processes.embedding import EmbedQueue


def snapshot(*fingerprints: str) -> Any:
    """The part of a snapshot that an embedder's queue reads: spaces s0, s1, ... with these fingerprints."""
    spaces = {f"s{n}": SimpleNamespace(fingerprint=one, dim=16) for n, one in enumerate(fingerprints)}
    reader = SimpleNamespace(manifest=SimpleNamespace(spaces=spaces))
    space = SimpleNamespace(name="s0", entry=spaces["s0"])
    return SimpleNamespace(reader=reader, space=lambda: space, made=repr(fingerprints))


class Gate:
    """Lets the embedder's thread continue only when told."""

    def __init__(self, embedder: Any) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self._embed = embedder.embed
        embedder.embed = self

    def __call__(self, files: list[bytes]) -> Any:
        self.entered.set()
        assert self.open.wait(60)
        return self._embed(files)


async def test_broken_image_fails_its_own_caller_only(make_toy, make_embedder) -> None:
    toy = make_toy()
    embedder = make_embedder(toy)
    gate = Gate(embedder)
    queue = EmbedQueue(lambda reader, space: embedder, Limits())
    one = snapshot(toy.fingerprint)
    first = asyncio.ensure_future(queue.embed(one, "s0", [b"1"], None))
    await asyncio.to_thread(gate.entered.wait, 60)
    others = [
        asyncio.ensure_future(queue.embed(one, "s0", files, None)) for files in ([b"2", b"3"], [b"4", b"junk"], [b"5"])
    ]
    async with asyncio.timeout(60):
        while queue.waiting < 5:
            await asyncio.sleep(0.01)
    gate.open.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    queue.close()
    np.testing.assert_array_equal(results[1].result.vectors, toy.vectors[[2, 3]])
    assert results[1].result.failed == results[3].result.failed == {}
    assert isinstance(results[2], DecodeError)
    assert "Image 1" in str(results[2]), "counted within the caller's own call"
    np.testing.assert_array_equal(results[3].result.vectors, toy.vectors[[5]])
    assert embedder.batches == [1, 5], "nobody's images are embedded twice"


async def test_networks_are_opened_once_and_closed_when_no_generation_wants_them(make_toy, make_embedder) -> None:
    toy = make_toy()
    opened: list[tuple[str, Any]] = []

    def open_embedder(reader: Any, space: str) -> Any:
        embedder = make_embedder(toy)
        embedder.fingerprint = reader.manifest.spaces[space].fingerprint
        opened.append((space, embedder))
        return embedder

    queue = EmbedQueue(open_embedder, Limits())
    old, new = snapshot("one", "two"), snapshot("two", "three")
    for space in ("s0", "s1", "s0"):
        await queue.embed(old, space, [b"1"], None)
    assert [space for space, _ in opened] == ["s0", "s1"]
    queue.retain_networks(new)
    await queue.embed(new, "s0", [b"1"], None)
    assert [embedder.closed for _, embedder in opened] == [True, False]
    await queue.embed(new, "s1", [b"1"], None)
    assert len(opened) == 3
    queue.close()
    assert all(embedder.closed for _, embedder in opened)


async def test_network_used_by_a_late_call_is_closed_after_it(make_toy, make_embedder) -> None:
    toy = make_toy()
    opened: dict[str, Any] = {}

    def open_embedder(reader: Any, space: str) -> Any:
        embedder = make_embedder(toy)
        embedder.fingerprint = reader.manifest.spaces[space].fingerprint
        opened[embedder.fingerprint] = embedder
        return embedder

    queue = EmbedQueue(open_embedder, Limits())
    old, new = snapshot("one"), snapshot("two")
    await queue.embed(old, "s0", [b"1"], None)
    queue.retain_networks(new)
    await queue.embed(old, "s0", [b"1"], None)
    assert not opened["one"].closed
    assert await queue.problem(new) == ""
    assert opened["one"].closed
    assert not opened["two"].closed
    queue.close()


async def test_unforeseen_failure_is_a_problem_too(make_toy) -> None:
    def open_embedder(reader: Any, space: str) -> Any:
        raise ImportError("libcudart.so is missing")

    queue = EmbedQueue(open_embedder, Limits())
    assert "see the server's log" in await queue.problem(snapshot(make_toy().fingerprint))
    queue.close()


class Shelf:
    """Holds a network's weights: before they are put here, the network cannot be opened."""

    def __init__(self) -> None:
        self.there: Any = None
        self.asked = 0

    def __call__(self, reader: Any, space: str) -> Any:
        self.asked += 1
        if self.there is None:
            raise WeightsError("Put the weights there.")
        return self.there


async def test_embedding_problem_is_reported_until_an_image_is_embedded(make_toy, make_embedder) -> None:
    toy = make_toy()
    shelf = Shelf()
    queue = EmbedQueue(shelf, Limits())
    served = snapshot(toy.fingerprint)
    assert await queue.problem(served) == "Put the weights there."
    with pytest.raises(WeightsError):
        await queue.embed(served, "s0", [b"1"], None)
    shelf.there = make_embedder(toy)
    await queue.embed(served, "s0", [b"1"], None)
    assert await queue.problem(served) == ""
    assert shelf.asked == 3
    queue.close()


async def test_server_info_retries_opening_a_network_once_a_minute(make_toy, make_embedder, monkeypatch) -> None:
    toy = make_toy()
    shelf = Shelf()
    queue = EmbedQueue(shelf, Limits())
    served = snapshot(toy.fingerprint)
    assert {await queue.problem(served) for _ in range(5)} == {"Put the weights there."}
    assert shelf.asked == 1
    assert await queue.problem(snapshot(toy.fingerprint, "another")) == "Put the weights there."
    assert shelf.asked == 2, "another generation may have other weights"
    shelf.there = make_embedder(toy)
    assert await queue.problem(snapshot(toy.fingerprint, "another")) == "Put the weights there."
    later = time.monotonic() + 61
    monkeypatch.setattr(embedding, "time", SimpleNamespace(monotonic=lambda: later))
    assert await queue.problem(snapshot(toy.fingerprint, "another")) == ""
    assert shelf.there.batches == []
    queue.close()


async def test_full_queue_is_a_temporary_problem(make_toy, make_embedder, monkeypatch) -> None:
    toy = make_toy()
    queue = EmbedQueue(lambda reader, space: make_embedder(toy), Limits())
    served = snapshot(toy.fingerprint)
    with monkeypatch.context() as patched:

        async def full(*_: Any) -> None:
            raise OverloadedError("Too much waits.", 1)

        patched.setattr(queue, "embed", full)
        assert await queue.problem(served) == "Too much waits."
    assert await queue.problem(served) == ""
    queue.close()


async def test_ended_network_is_reopened_immediately(make_toy, make_embedder) -> None:
    toy = make_toy()
    shelf = Shelf()
    queue = EmbedQueue(shelf, Limits())
    served = snapshot(toy.fingerprint)
    assert await queue.problem(served) == "Put the weights there."
    shelf.there = ended = make_embedder(toy)
    await queue.embed(served, "s0", [b"1"], None)
    shelf.there = make_embedder(toy)
    ended.alive = False
    assert await queue.problem(served) == ""
    assert queue.ready
    queue.close()
