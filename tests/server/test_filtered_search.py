"""Searches with a filter: exactly the nearest matches for every index, and the plan in the reply."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import grpc
import numpy as np
import pytest

import lookalike
from lookalike import wire
from lookalike.cli._run import run
from lookalike.v1 import filter_pb2, search_pb2, types_pb2

from .conftest import random_vectors

FILTERS = (
    "stock < 1",
    "stock < 5",
    "stock % 2 = 0",
    "stock >= 250",
    "not stock in (3, 4)",
    "price is null",
    "tags has 'sale' and stock > 100",
    "label = 'label1'",
    "cluster('tiny/k4') in (1, 2)",
    "stock > 100000",
)


def truth(toy: Any, words: str) -> Any:
    """Return which of the toy's vectors match a filter of this module."""
    i = np.arange(len(toy.ids))
    return {
        "stock < 1": i < 1,
        "stock < 5": i < 5,
        "stock >= 250": i >= 250,
        "not stock in (3, 4)": ~np.isin(i, [3, 4]),
        "price is null": i % 5 == 0,
        "tags has 'sale' and stock > 100": (i % 3 == 0) & (i > 100),
        "label = 'label1'": toy.ids % 3 == 1,
        "stock > 100000": i < 0,
    }[words]


@pytest.fixture
def make_shop(make_toy, attach) -> Any:
    def make(**toy: Any) -> Any:
        made = make_toy(clusters=4, **toy)
        count = len(made.ids)
        attach(
            made,
            stock=list(range(count)),
            price=[None if i % 5 == 0 else i / 2 for i in range(count)],
            tags=[["sale"] if i % 3 == 0 else None for i in range(count)],
        )
        return made

    return make


def matching_brute_force(toy: Any, queries: Any, k: int, keep: Any) -> Any:
    ids, distances = toy.brute_force(queries, len(toy.ids))
    found = [row[np.isin(row, toy.ids[keep])][:k] for row in ids]
    return found, distances


@pytest.mark.parametrize("index", ["Flat", "IVF16,Flat", "IVF16,SQfp16", "HNSW8,Flat"])
async def test_every_query_has_its_nearest_matching_images(make_shop, serve, by_vector, index) -> None:
    toy = make_shop(index=index)
    queries = random_vectors(5, seed=9)
    async with serve(toy) as served:
        for words in FILTERS:
            if "%" in words or "cluster" in words:
                continue
            keep = truth(toy, words)
            reply = await served.neighbors(by_vector(queries), 10, exact=True, filter=filter_pb2.Filter(text=words))
            expected, _ = matching_brute_force(toy, queries, 10, keep)
            counts = list(reply.neighbors.counts)
            assert counts == [min(10, int(keep.sum()))] * 5, words
            ids = np.split(wire.decode(reply.neighbors.ids), np.cumsum(counts)[:-1])
            for one, other in zip(ids, expected, strict=True):
                assert one.tolist() == other.tolist(), words
            plan = reply.served.plan
            assert (plan.matches, plan.rows) == (int(keep.sum()), 500)
            assert (plan.strategy, reply.served.expected_recall) == ("exact", 1)


async def test_filtered_search_returns_all_matches_at_every_effort(make_shop, serve, by_vector) -> None:
    toy = make_shop(index="IVF16,SQ8")
    queries = random_vectors(3, seed=2)
    async with serve(toy) as served:
        for words in ("stock < 5", "stock >= 250", "tags has 'sale' and stock > 100"):
            keep = set(toy.ids[truth(toy, words)].tolist())
            for effort in ({}, {"nprobe": 1}, {"recall": 0.9}):
                reply = await served.neighbors(by_vector(queries), 10, filter=filter_pb2.Filter(text=words), **effort)
                assert list(reply.neighbors.counts) == [min(10, len(keep))] * 3
                assert set(wire.decode(reply.neighbors.ids).tolist()) <= keep


async def test_equal_filters_in_other_words_give_identical_bytes(make_shop, serve, by_vector) -> None:
    queries = by_vector(random_vectors(3, seed=2))
    texts = filter_pb2.In(column="stock", integers=[0, 1, 2, 3, 4])
    same = [
        filter_pb2.Filter(text="stock < 5"),
        filter_pb2.Filter(text="stock in (4, 3, 2, 1, 0)"),
        filter_pb2.Filter(text="stock = 0 or stock between 1 and 4"),
        filter_pb2.Filter(text="stock < 5 and stock < 7"),
        filter_pb2.Filter(text="stock < 7 and stock < 5"),
        filter_pb2.Filter(**{"in": texts}),
    ]
    async with serve(make_shop(index="IVF16,SQ8")) as served:
        fields = search_pb2.NeighborFields(keys=True, labels=True, attributes=["stock"])
        replies = [await served.neighbors(queries, 10, filter=one, fields=fields) for one in same]
        assert len({reply.neighbors.SerializeToString() for reply in replies}) == 1
        stock = wire.decode(replies[0].neighbors.attributes[0].numbers)
        assert sorted(set(stock.tolist())) == [0, 1, 2, 3, 4]


async def test_stored_image_is_left_out_of_its_own_matches(make_shop, serve) -> None:
    toy = make_shop()
    query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(toy.ids[2]), int(toy.ids[100]), int(toy.ids[2])]))
    chosen = filter_pb2.Filter(text="stock < 5")
    async with serve(toy) as served:
        reply = await served.neighbors(query, 10, filter=chosen)
        assert list(reply.neighbors.counts) == [4, 5, 4]
        assert int(toy.ids[2]) not in wire.decode(reply.neighbors.ids)[:4].tolist()
        both = await served.neighbors(query, 10, filter=chosen, include_self=True)
        assert list(both.neighbors.counts) == [5, 5, 5]


async def test_plan_is_returned_with_a_filter_or_on_request(make_shop, serve, by_vector) -> None:
    query = by_vector(random_vectors(1))
    async with serve(make_shop(index="IVF16,Flat")) as served:
        assert not (await served.neighbors(query, 3)).served.HasField("plan")
        plan = (await served.neighbors(query, 3, explain=True, nprobe=2)).served.plan
        assert (plan.strategy, plan.matches, plan.rows, plan.lists_visited, plan.filter) == ("index", 500, 500, 2, "")
        chosen = filter_pb2.Filter(text="STOCK < 5 or price > 3".lower())
        first = (await served.neighbors(query, 3, filter=chosen)).served.plan
        again = (await served.neighbors(query, 3, filter=chosen)).served.plan
        assert (first.filter, first.cached, again.cached) == ("price > 3 or stock < 5", False, True)


async def test_columns_come_with_neighbors_also_without_a_filter(make_shop, serve, by_vector) -> None:
    toy = make_shop()
    queries = random_vectors(4)
    queries[3] = queries[1]
    fields = search_pb2.NeighborFields(keys=True, attributes=["*"])
    async with serve(toy) as served:
        reply = await served.neighbors(by_vector(queries), 7, fields=fields)
        found = {one.name: one for one in reply.neighbors.attributes}
        assert list(found) == ["stock", "price", "tags"]
        rows = (wire.decode(reply.neighbors.ids) - 5) // 2
        assert wire.decode(found["stock"].numbers).tolist() == rows.tolist()
        assert len(reply.neighbors.keys) == 28


async def test_wrong_filters_of_a_search(make_shop, serve, by_vector, refused) -> None:
    query = by_vector(random_vectors(1))
    async with serve(make_shop()) as served:
        for request, fields in (
            ({"filter": filter_pb2.Filter(text="prize < 3")}, ["filter.text"]),
            ({"filter": filter_pb2.Filter()}, ["filter"]),
            ({"fields": search_pb2.NeighborFields(attributes=["prize"])}, ["fields.attributes"]),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await served.neighbors(query, 3, **request)
            assert refused(error.value).fields == fields


async def test_images_missing_from_an_index_match(make_toy, serve, by_vector, attach) -> None:
    """The last image has no embedding; images beside the index are rows like all others."""
    toy = make_toy()
    attach(toy, stock=list(range(500)))
    async with serve(toy) as served:
        reply = await served.neighbors(
            by_vector(toy.vectors[:1]),
            600,
            exact=True,
            filter=filter_pb2.Filter(text="not stock < 490 or stock is null"),
        )
        # Without the image that has no embedding, though it matches.
        assert reply.served.plan.matches == reply.neighbors.counts[0] == 10


async def test_clients_and_the_command_line(make_shop, serve, capsys, monkeypatch) -> None:
    toy = make_shop(index="IVF16,Flat")

    def ask(address: str) -> None:
        with lookalike.Client(address) as client:
            cheap = (lookalike.column("price") < 20) & lookalike.column("tags").has("sale")
            near = client.search(id=int(toy.ids[0]), k=5, where=cheap, fields=["price"])
            assert all(price < 20 for price in near.attributes["price"])
            assert near[0].attributes == {"price": near.attributes["price"][0]}
            assert near.served.plan.filter == "price < 20 and tags has 'sale'"
            assert str(near.served.plan).startswith("11 of 500 images match (2.2%); every one of them was compared")
            batch = client.search(ids=toy.ids[:3].tolist(), k=2, where="stock < 1", fields="*")
            assert batch.counts.tolist() == [0, 1, 1]
            assert batch[1].attributes["stock"] == (0,)
            assert batch[1:].attributes["stock"] == (0, 0)
            assert client.search(id=int(toy.ids[0]), k=2).served.plan is None
            assert [image.attributes["stock"] for image in client.images(where="stock > 497", fields=["stock"])] == [
                498, 499,
            ]  # fmt: skip
            assert client.list_clusters("tiny/k4", where="stock < 10").sizes.sum() == 10

    def commands(address: str) -> None:
        monkeypatch.setenv("LOOKALIKE_SERVER", address)
        key = toy.key(int(toy.ids[0]))
        assert run(["search", key, "-k", "2", "--where", "stock in (7, 8)", "--fields", "stock,tags", "--explain"]) == 0
        out = capsys.readouterr().out.replace(" (cosine)", "").splitlines()
        assert out[0].split() == ["rank", "distance", "label", "stock", "tags", "key"]
        assert sorted(line.split()[3] for line in out[1:3]) == ["7", "8"]
        assert re.fullmatch(
            r"plan: 2 of 500 images match \(0.4%\); every one of them was compared; "
            r"[12] lists visited, 1[45] without a match were skipped\.",
            out[-1],
        )
        assert run(["search", key, "--where", "stock < 3", "--fields", "all", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert sorted(row["stock"] for row in found["neighbors"]) == [1, 2]
        assert found["served"]["plan"]["matches"] == 3
        assert run(["clusters", key, "--members", "3", "--where", "stock < 9", "--fields", "stock", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert all(row["stock"] < 9 for row in found["clusters"][0]["nearest"])
        assert run(["images", "--where", "stock = 3", "--csv"]) == 0
        assert capsys.readouterr().out.splitlines()[1].endswith(',3,1.5,"[""sale""]"')
        assert run(["search", key, "--where", "stock <"]) == 2
        assert "(at character 8 of the filter)" in capsys.readouterr().err
        # The missing thing is not the key.
        assert run(["search", key, "--where", "cluster('tiny/k5') = 1"]) == 1
        assert "no file" not in (err := capsys.readouterr().err)
        assert "has no clustering 'tiny/k5'" in err
        assert run(["search", key, "--explain", "--exact"]) == 0
        assert capsys.readouterr().out.endswith("plan: all 500 images were compared.\n")
        assert run(["search", key, "--explain", "--where", "stock > 1000"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("No image is found: none matches, or is near enough.")
        assert out.endswith("plan: 0 of 500 images match (0%).\n")

    async with serve(toy) as served:
        await asyncio.to_thread(ask, served.app.address)
        await asyncio.to_thread(commands, served.app.address)
