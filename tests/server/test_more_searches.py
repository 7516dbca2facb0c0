"""Searches within a distance, by examples, in groups, with vectors, and of a box of an image."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lookalike
from lookalike import wire
from lookalike.cli._run import run
from lookalike.v1 import filter_pb2, search_pb2, types_pb2
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.images.image_box import Boxed
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.search.hits import Hits
from lookalike_server.services.grouping import Grouped, grouped

from .conftest import random_vectors


def by_ids(*ids: int) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(one) for one in ids]))


class TestMaxDistance:
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    async def test_maximum_distance_limits_the_neighbors(self, make_toy, serve, by_vector, metric) -> None:
        toy = make_toy(metric=metric, index="IVF16,Flat")
        queries = random_vectors(4, seed=3)
        ids, distances = toy.brute_force(queries, 500)
        limit = float(np.sort(distances.ravel())[60])
        async with serve(toy) as served:
            reply = await served.neighbors(by_vector(queries), 400, exact=True, max_distance=limit)
            counts = list(reply.neighbors.counts)
            assert counts == (distances <= np.float32(limit)).sum(axis=1).tolist()
            assert wire.decode(reply.neighbors.ids).tolist() == [
                one for row, count in zip(ids, counts, strict=True) for one in row[:count].tolist()
            ]
            bounded = await served.neighbors(by_vector(queries), 3, exact=True, max_distance=limit)
            assert list(bounded.neighbors.counts) == [min(3, count) for count in counts]
            assert list((await served.neighbors(by_vector(queries), 3, max_distance=0)).neighbors.counts) == [0] * 4

    async def test_invalid_distance_is_rejected(self, make_toy, serve, by_vector, refused) -> None:
        async with serve(make_toy()) as served:
            for wrong in (-1, float("nan")):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await served.neighbors(by_vector(random_vectors(1)), 3, max_distance=wrong)
                assert refused(error.value).fields == ["max_distance"]


class TestVectors:
    async def test_stored_vectors_come_with_neighbors(self, make_toy, serve, by_vector) -> None:
        toy = make_toy(index="IVF16,SQ8")
        fields = search_pb2.NeighborFields(keys=True, vectors=True)
        async with serve(toy) as served:
            reply = await served.neighbors(by_vector(random_vectors(3)), 5, fields=fields)
        rows = (wire.decode(reply.neighbors.ids) - 5) // 2
        assert np.array_equal(wire.decode(reply.neighbors.vectors), toy.vectors[rows])

    async def test_vectors_of_stored_and_uploaded_images(self, make_toy, serve, make_embedder, refused) -> None:
        toy = make_toy()
        embedder = make_embedder(toy)
        async with serve(toy, open_embedder=lambda reader, space: embedder) as served:
            ask = served.search.GetVectors
            reply = await ask(search_pb2.GetVectorsRequest(query=by_ids(*toy.ids[[7, 2, 7]])))
            assert np.array_equal(wire.decode(reply.vectors), toy.vectors[[7, 2, 7]])
            assert (reply.space_fingerprint, reply.served.space) == (toy.fingerprint, "tiny")
            keys = types_pb2.Keys(values=[toy.key(int(toy.ids[3])), "nothing"])
            query = types_pb2.QueryBatch(keys=keys)
            some = await ask(search_pb2.GetVectorsRequest(query=query, row_errors=True))
            assert np.isnan(wire.decode(some.vectors)[1]).all()
            assert [error.row for error in some.errors] == [1]
            pictures = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"4", b"9"]))
            embedded = await ask(search_pb2.GetVectorsRequest(query=pictures))
            assert np.array_equal(wire.decode(embedded.vectors), toy.vectors[[4, 9]])
            vectors = types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(toy.vectors[:1])))
            for wrong in (search_pb2.GetVectorsRequest(query=vectors), search_pb2.GetVectorsRequest()):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await ask(wrong)
                assert refused(error.value).code == grpc.StatusCode.INVALID_ARGUMENT


class TestExamples:
    def moved(self, toy: Any, base: Any, like: Any, unlike: Any, weights: Any = (1, 0.75, 0.15)) -> Any:
        vectors = toy.vectors.astype(np.float64)
        if toy.metric == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        query = weights[1] * vectors[like].mean(axis=0)
        if base is not None:
            query = query + weights[0] * vectors[base]
        return (query - weights[2] * vectors[unlike].mean(axis=0))[None].astype(np.float32)

    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    async def test_query_is_moved_by_rocchio(self, make_toy, serve, metric) -> None:
        toy = make_toy(metric=metric)
        keys = [toy.key(int(one)) for one in toy.ids]
        feedback = search_pb2.Feedback(keys=[keys[3], keys[5]], not_keys=[keys[8]])
        weighted = search_pb2.Feedback(
            keys=[keys[3], keys[5]], not_keys=[keys[8]], query_weight=0.5, weight=2, not_weight=0
        )
        async with serve(toy) as served:
            for query, given, base, weights in (
                (None, feedback, None, (1, 0.75, 0.15)),
                (by_ids(toy.ids[20]), feedback, 20, (1, 0.75, 0.15)),
                (by_ids(toy.ids[20]), weighted, 20, (0.5, 2, 0)),
            ):
                reply = await served.neighbors(query, 9, feedback=given, exact=True)
                ids, distances = toy.brute_force(self.moved(toy, base, [3, 5], [8], weights), 500)
                left_out = toy.ids[[3, 5, 8] + ([] if base is None else [base])]
                keep = ~np.isin(ids[0], left_out)
                assert wire.decode(reply.neighbors.ids).tolist() == ids[0][keep][:9].tolist()
                assert np.allclose(wire.decode(reply.neighbors.distances), distances[0][keep][:9], atol=1e-5)
            everything = await served.neighbors(None, 500, feedback=feedback, include_self=True)
            assert int(toy.ids[8]) in wire.decode(everything.neighbors.ids).tolist()

    async def test_invalid_feedback_examples_are_rejected(self, make_toy, serve, refused) -> None:
        toy = make_toy()
        key = toy.key(int(toy.ids[0]))
        async with serve(toy) as served:
            for feedback, fields in (
                (search_pb2.Feedback(), ["feedback"]),
                (search_pb2.Feedback(keys=[key] * 257), ["feedback"]),
                (search_pb2.Feedback(keys=[key], weight=-1), ["feedback.weight"]),
                (search_pb2.Feedback(keys=[key], not_weight=float("nan")), ["feedback.not_weight"]),
                (search_pb2.Feedback(keys=[key], weight=0), ["feedback"]),
                (search_pb2.Feedback(keys=["nothing"]), []),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await served.neighbors(None, 3, feedback=feedback)
                assert refused(error.value).fields == fields


def brute_groups(ids: Any, distances: Any, codes: dict[int, Any], k: int, per_group: int) -> list[list[int]]:
    groups: dict[Any, list[int]] = {}
    for one in ids.tolist():
        code = codes[one]
        if code is None:
            continue
        if code not in groups and len(groups) == k:
            continue
        group = groups.setdefault(code, [])
        if len(group) < per_group:
            group.append(one)
    return list(groups.values())


class TestGroups:
    @pytest.mark.parametrize("per_group", [1, 3])
    async def test_nearest_of_each_group(self, make_toy, serve, attach, by_vector, per_group) -> None:
        toy = make_toy(index="IVF16,SQ8")
        product = [None if i % 7 == 0 else i % 40 if i > 200 else 0 for i in range(500)]
        attach(toy, product=product, name=[None if one is None else f"p{one}" for one in product])
        codes = dict(zip(toy.ids.tolist(), product, strict=True))
        queries = random_vectors(3, seed=4)
        async with serve(toy) as served:
            for column, k in (("product", 12), ("name", 12), ("product", 100)):
                grouping = search_pb2.Grouping(column=column, per_group=per_group)
                reply = await served.neighbors(by_vector(queries), k, grouping=grouping, exact=True)
                found = groups_of(reply)
                for row, groups in enumerate(found):
                    ids, distances = toy.brute_force(queries[row : row + 1], 500)
                    assert groups == brute_groups(ids[0], distances[0], codes, k, per_group)
                # There are no more than 40 products.
                assert [len(groups) for groups in found] == [min(k, 40)] * 3
                assert reply.neighbors.attributes[0].name == column

    async def test_groups_of_matching_images_within_a_distance(self, make_toy, serve, attach) -> None:
        toy = make_toy()
        attach(toy, product=[i % 10 for i in range(500)])
        codes = dict(zip(toy.ids.tolist(), [i % 10 for i in range(500)], strict=True))
        async with serve(toy) as served:
            reply = await served.neighbors(
                by_ids(toy.ids[4]),
                8,
                grouping=search_pb2.Grouping(column="product", per_group=2),
                filter=filter_pb2.Filter(text="product < 5 and not product = 3"),
                max_distance=0.7,
            )
            ids, distances = toy.brute_force(toy.vectors[4:5], 500)
            keep = [
                code not in (3, *range(5, 10)) and one != toy.ids[4] and distance <= 0.7
                for one, distance, code in zip(ids[0], distances[0], (codes[one] for one in ids[0]), strict=True)
            ]
            assert groups_of(reply) == [brute_groups(ids[0][keep], distances[0][keep], codes, 8, 2)]
            assert reply.served.plan.matches == 200

    async def test_columns_unfit_for_groups_are_rejected(self, make_toy, serve, attach, by_vector, refused) -> None:
        toy = make_toy()
        attach(toy, price=[0.5] * 500, tags=[["a"]] * 500)
        async with serve(toy) as served:
            for column, per_group, field, sentence in (
                ("price", 1, "grouping.column", "is float64; group by a column of string"),
                ("tags", 1, "grouping.column", "is list<string>; group by"),
                ("prize", 1, "grouping.column", "There is no column 'prize'"),
                ("", 1, "grouping.column", "names no column to group by"),
                ("label", 1000, "grouping.per_group", "the limit is 1024"),
                ("label", -1, "grouping.per_group", "1 or more images in a group, not -1"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await served.neighbors(
                        by_vector(random_vectors(1)),
                        3,
                        grouping=search_pb2.Grouping(column=column, per_group=per_group),
                    )
                said = refused(error.value)
                assert said.fields == [field]
                assert sentence in said.message


def groups_of(reply: search_pb2.SearchResponse) -> list[list[list[int]]]:
    ids = iter(wire.decode(reply.neighbors.ids).tolist())
    sizes = iter(reply.neighbors.group_sizes)
    found = [[[next(ids) for _ in range(next(sizes))] for _ in range(count)] for count in reply.neighbors.group_counts]
    assert list(reply.neighbors.counts) == [sum(map(len, groups)) for groups in found]
    return found


class Instant:
    """Stand-in for the server's workers."""

    async def run(self, work: Any, size: int = 1) -> Any:
        return work()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codes=st.lists(st.integers(-1, 6), min_size=1, max_size=60),
    k=st.integers(1, 8),
    per_group=st.integers(1, 3),
    most=st.integers(1, 9),
    farthest=st.sampled_from([3.0, 30.0, float("inf")]),
)
def test_grouped_results_equal_those_of_a_full_scan(codes, k, per_group, most, farthest) -> None:
    """Row i is at distance i; a search finds `most` rows at a time."""
    searches = []

    async def search(count: int, mask: RowMask) -> Hits:
        rows = np.flatnonzero(mask.bools)[:count].astype(np.int64)
        searches.append(rows)
        return Hits(rows[None], rows[None].astype(np.float32), 0, True, "cpu", True)

    by = Grouped(np.array(codes, np.int32), 7, k, per_group, farthest)
    found, _ = asyncio.run(grouped(search, by, None, np.array([0]), most, Instant()))
    ids = np.array([row for row in range(1, len(codes)) if row <= farthest], np.int64)
    known = {row: None if code < 0 else code for row, code in enumerate(codes)}
    assert [[row for row, _ in group] for group in found.members.values()] == brute_groups(
        ids, ids, known, k, per_group
    )
    assert len(np.concatenate([np.empty(0), *searches])) == len(set(np.concatenate([np.empty(0), *searches]).tolist()))


class Seeing:
    """Embeds an image b"7" as the toy's vector 7, and its box (x, ...) as vector x."""

    def __init__(self, toy: Any) -> None:
        self.fingerprint, self._vectors = toy.fingerprint, toy.vectors
        self.alive, self.hung, self.seen = True, False, []

    def embed(self, files: Any) -> EmbeddingResult:
        self.seen += list(files)
        return EmbeddingResult(self._vectors[[file.box[0] if isinstance(file, Boxed) else int(file) for file in files]])

    def close(self) -> None:
        pass


async def test_part_of_an_image_is_embedded_once_for_each_box(make_toy, serve, refused) -> None:
    toy = make_toy()
    embedder = Seeing(toy)
    box = types_pb2.Box(x=30, y=0, width=5, height=5)
    images = types_pb2.Images(data=[b"7", b"7", b"7"], boxes=[types_pb2.Box(), box, box])
    async with serve(toy, open_embedder=lambda reader, space: embedder) as served:
        reply = await served.neighbors(types_pb2.QueryBatch(images=images), 1)
        assert wire.decode(reply.neighbors.ids).tolist() == toy.ids[[7, 30, 30]].tolist()
        assert embedder.seen == [b"7", Boxed(b"7", (30, 0, 5, 5))]
        images.boxes.pop()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.neighbors(types_pb2.QueryBatch(images=images), 1)
        assert refused(error.value).fields == ["query.images.boxes"]


async def test_clients_and_the_command_line(make_toy, serve, attach, capsys, monkeypatch, tmp_path) -> None:
    toy = make_toy()
    attach(toy, product=[i % 10 for i in range(500)])
    keys = [toy.key(int(one)) for one in toy.ids[:20]]
    embedder = Seeing(toy)

    def ask(address: str) -> None:
        with lookalike.Client(address) as client:
            near = client.search(key=keys[0], k=50, max_distance=0.5, with_vectors=True)
            assert near.distances.max() <= 0.5
            assert np.array_equal(near.vectors, client.vectors(ids=near.ids))
            assert near[:2].vectors.shape == (2, 16)
            assert client.vectors(key=keys[3]).tolist() == toy.vectors[3].tolist()
            assert client.embed(image=b"5").tolist() == toy.vectors[5].tolist()
            assert (
                client.embed(images=[b"5", b"6"], boxes=[None, (9, 0, 1, 1)]).tolist() == toy.vectors[[5, 9]].tolist()
            )
            grouped = client.search(key=keys[0], k=4, group_by="product", per_group=2, exact=True)
            assert grouped.group_sizes == (2, 2, 2, 2)
            assert len({group.attributes["product"][0] for group in grouped.groups}) == 4
            assert all(len(set(group.attributes["product"])) == 1 for group in grouped.groups)
            batch = client.search(keys=keys[:3], k=3, group_by="product", fields="product")
            assert batch.group_sizes == ((1, 1, 1),) * 3
            assert batch[1].groups[2].keys == batch[1].keys[2:]
            assert client.search(key=keys[0], k=2).groups[0].keys == client.search(key=keys[0], k=2).keys
            alone = client.search(keys=keys[3:5], not_keys=[keys[8]], k=5)
            assert not set(alone.keys) & {keys[3], keys[4], keys[8]}
            moved = client.search(key=keys[0], keys=keys[3:5], not_keys=[], k=5, weights=(0, 1, 0))
            assert client.search(keys=keys[3:5], not_keys=[], k=5).ids.tolist()[:3] == moved.ids.tolist()[:3]
            assert client.search(image=b"5", box=(11, 0, 1, 1), k=1).ids.tolist() == [int(toy.ids[11])]

    def commands(address: str) -> None:
        monkeypatch.setenv("LOOKALIKE_SERVER", address)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "five.jpg").write_bytes(b"5")
        assert run(["search", keys[0], "-k", "3", "--group-by", "product", "--per-group", "2"]) == 0
        lines = [line.split() for line in capsys.readouterr().out.replace(" (cosine)", "").splitlines()]
        assert lines[0] == ["group", "rank", "distance", "label", "product", "key"]
        assert [line[0] for line in lines[1:7]] == ["1", "1", "2", "2", "3", "3"]
        assert run(["search", keys[0], "--max-distance", "0.5", "--json", "--vectors", "out.npz"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert all(0 < row["distance"] <= 0.5 for row in found["neighbors"])
        with np.load("out.npz") as stored:
            assert stored["query"].tolist() == toy.vectors[0].tolist()
            assert stored["ids"].tolist() == [row["id"] for row in found["neighbors"]]
            assert stored["neighbors"].shape == (len(found["neighbors"]), 16)
        assert run(["search", "five.jpg", "--box", "11,0,1,1", "-k", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["neighbors"][0]["id"] == int(toy.ids[11])
        assert run(["search", keys[0], "--like", keys[3], "--unlike", keys[8], "--json"]) == 0
        listed = [row["key"] for row in json.loads(capsys.readouterr().out)["neighbors"]]
        assert not set(listed) & {keys[0], keys[3], keys[8]}
        for wrong in (["--box", "1,2"], ["--box", "1,2,3,4"]):
            assert run(["search", keys[0], *wrong]) == 2
        assert "--box is a part of an image file" in capsys.readouterr().err

    async with serve(toy, open_embedder=lambda reader, space: embedder) as served:
        await asyncio.to_thread(ask, served.app.address)
        await asyncio.to_thread(commands, served.app.address)
