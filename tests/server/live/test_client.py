"""Changes through both clients, on a real server."""

from __future__ import annotations

import asyncio
import datetime as dt

import numpy as np
import pytest
from tests.server.live.test_update import random

import lookalike


async def test_clients_change_a_collection_and_read_what_they_wrote(make_toy, attach, serve, make_embedder) -> None:
    toy = make_toy(random(40), clusters=3)
    taken = [dt.datetime(2020, 1, 1 + row % 28) for row in range(40)]
    attach(toy, price=[float(row) for row in range(40)], taken=taken, tags=[["a"]] * 40)
    async with serve(toy, writable=True, open_embedder=lambda reader, space: make_embedder(toy)) as served:
        await asyncio.to_thread(_with_plain_client, served.app.address, toy)
        async with lookalike.aio.Client(served.app.address) as client:
            done = await client.upsert(vectors={"aio": random(1, seed=2)[0]}, labels={"aio": "new"})
            near = await client.search(vector=random(1, seed=2)[0], k=1, after=done)
            assert near.keys == ("aio",)
            await client.set(keys=["aio"], label="old")
            assert (await client.lookup(key="aio")).label == "old"
            gone = await client.delete(where="label = 'old'")
            assert (gone.deleted, gone.unknown) == (1, 0)


def _with_plain_client(address: str, toy) -> None:
    with lookalike.Client(address) as client:
        values = {"price": 5, "taken": dt.datetime(2024, 5, 6, 7), "tags": ["x", "y"]}
        done = client.upsert(
            images={"a": b"3", "bad": b"no number", "b": b"4"}, labels={"a": "one"}, attributes={"a": values}
        )
        assert done.keys == ("a", "bad", "b")
        assert done.ids[1] == -1
        assert done.rejects == {"bad": "Image 1 cannot be decoded: it is no number."}
        near = client.search(vector=toy.vectors[3], k=2, after=done, fields="*")
        assert set(near.keys) == {"a", toy.key(int(toy.ids[3]))}
        assert near.served.sequence == done.sequence == 1
        image = client.lookup(key="a", fields="*")
        assert image.attributes == {
            "price": 5.0,
            "taken": dt.datetime(2024, 5, 6, 7, tzinfo=dt.UTC),
            "tags": ("x", "y"),
        }
        assert client.lookup(key="b", fields="*").attributes == {"price": None, "taken": None, "tags": None}
        assert [one.key for one in client.images(where="tags has 'x'")] == ["a"]
        assert client.set(keys=["b"], attributes={"price": 2.5, "tags": None}).sequence == 2
        assert client.lookup(key="b", fields="*").attributes["price"] == 2.5
        gone = client.delete(keys=["a", "b", "nobody"])
        assert (gone.deleted, gone.unknown, gone.sequence) == (2, 1, 3)
        info = client.server_info()
        assert (info.writable, info.sequence, info.live_rows, info.deleted_rows) == (True, 3, 0, 2)
        with pytest.raises(lookalike.NotFoundError):
            client.lookup(key="a")


@pytest.mark.parametrize(
    ("method", "arguments", "says"),
    [
        ("upsert", {}, "exactly one of images= and vectors="),
        ("upsert", {"images": {"a": b"x"}, "vectors": {"a": [1.0]}}, "exactly one of images= and vectors="),
        ("upsert", {"vectors": {}}, "at least one key"),
        ("upsert", {"vectors": {"a": np.ones(4), "b": np.ones(5)}}, "equal length"),
        ("upsert", {"vectors": {"a": np.ones(4)}, "labels": {"b": "x"}}, "'b'"),
        ("upsert", {"vectors": {"a": np.ones(4)}, "labels": ["x"]}, "labels= takes a mapping from keys, such as"),
        ("upsert", {"vectors": {"a": np.ones(4)}, "attributes": ["x"]}, "attributes= takes a mapping"),
        ("upsert", {"vectors": {"a": np.ones(4)}, "attributes": {"a": {"price": object()}}}, "price"),
        (
            "upsert",
            {"vectors": {"a": np.ones(4), "b": np.ones(4)}, "attributes": {"a": {"p": 1}, "b": {"p": "x"}}},
            "p",
        ),
        ("delete", {}, "exactly one of keys= and where="),
        ("delete", {"keys": []}, "empty"),
        ("set", {"keys": ["a"]}, "Nothing is set"),
        ("search", {"key": "a", "after": "x"}, "after='x'"),
    ],
)
def test_wrong_arguments_are_reported_before_a_call(method, arguments, says) -> None:
    with (
        lookalike.Client("127.0.0.1:1", retries=0) as client,
        pytest.raises(lookalike.InvalidArgumentError, match=says),
    ):
        getattr(client, method)(**arguments)
