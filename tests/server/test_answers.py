"""A result depends on the query, k and the index, not on other callers or on the index's placement."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from lookalike import wire
from lookalike.v1 import search_pb2
from lookalike_server.placement.devices import Cpu

LISTS = ["IVF16,Flat", "IVF16,SQfp16", "IVF16,SQ8", "IVF16,PQ8np"]
CUT = ["Flat", "SQfp16", *LISTS, "PCA16,IVF16,SQ8"]
PROJECTED = ["PCA16,HNSW32,SQ8,Refine(SQ8)", "PCA16,SQ8,Refine(SQ8)", "PCA16,IVF16,SQ8,Refine(SQfp16)"]
WHOLE = ["IVF16,PQ8x4fs,Refine(SQ8)", "IVF16,RaBitQ,Refine(SQ8)", "HNSW32,SQ8", "IVF16,PQ8x4fs", "IVF16_HNSW8,Flat"]
PLACEMENTS = {
    "cpu": None,
    "shard": [Cpu("cpu:0"), Cpu("cpu:1"), Cpu("cpu:2")],
    "replicate": [Cpu("cpu:0"), Cpu("cpu:1")],
}
Answer = list[tuple[list[int], list[float]]]


def with_copies(rows: int = 1503, dim: int = 64, places: tuple[int, ...] = (7, 500, 993, 1499, 1502)) -> np.ndarray:
    """Return random vectors, with copies of one vector at `places`."""
    vectors = np.random.default_rng(3).standard_normal((rows, dim)).astype(np.float32)
    vectors[[place for place in places if place < rows]] = vectors[places[0]]
    return vectors


def near(vector: np.ndarray, count: int, seed: int = 5) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((count, len(vector)))
    return (vector + 0.3 * noise).astype(np.float32)


def answers(reply: search_pb2.SearchResponse) -> Answer:
    found, distances = wire.decode(reply.neighbors.ids), wire.decode(reply.neighbors.distances)
    ends = np.cumsum(reply.neighbors.counts)[:-1]
    return [
        (ids.tolist(), away.tolist())
        for ids, away in zip(np.split(found, ends), np.split(distances, ends), strict=True)
    ]


class TestTheSameAnswer:
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("index", [*CUT, *WHOLE, *PROJECTED])
    async def test_answers_do_not_depend_on_the_batch_or_the_placement(
        self, make_toy, serve, by_vector, index, metric
    ) -> None:
        vectors = with_copies()
        toy = make_toy(vectors, index=index, metric=metric)
        queries = np.concatenate([near(vectors[7], 12), near(vectors[500], 12, 6), vectors[[7, 30, 31]]])
        expected: Answer = []
        for placement, devices in PLACEMENTS.items():
            if placement == "shard" and index in (*WHOLE[:4], *PROJECTED):
                continue  # these cannot be split
            async with serve(toy, placement=placement, devices=devices) as served:
                for k in (3, 10):
                    batch = answers(await served.neighbors(by_vector(queries), k))
                    alone = [answers(await served.neighbors(by_vector(one[None]), k))[0] for one in queries]
                    together = await asyncio.gather(
                        *(served.neighbors(by_vector(one[None]), k) for one in [*queries, *queries])
                    )
                    assert batch == alone
                    assert [answers(reply)[0] for reply in together] == alone + alone
                    expected += alone if placement == "cpu" else []
                    assert alone == (expected[: len(queries)] if k == 3 else expected[len(queries) :])

    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("index", ["Flat", "IVF16,Flat", "IVF16,SQ8", "PCA16,IVF16,SQ8"])
    async def test_calls_with_another_k_in_the_batch_do_not_change_answers(
        self, make_toy, serve, by_vector, index, metric
    ) -> None:
        vectors = with_copies()
        async with serve(make_toy(vectors, index=index, metric=metric, default_nprobe=1)) as served:
            query = near(vectors[7], 1)
            alone = {k: answers(await served.neighbors(by_vector(query), k))[0] for k in range(64, 128, 9)}
            together = await asyncio.gather(*(served.neighbors(by_vector(query), k) for k in [*alone, *alone]))
            assert [answers(reply)[0] for reply in together] == [*alone.values(), *alone.values()]

    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("index", CUT)
    @pytest.mark.parametrize("placement", PLACEMENTS)
    async def test_of_copies_the_lowest_ids_come_first(
        self, make_toy, serve, by_vector, index, metric, placement
    ) -> None:
        vectors = with_copies()
        toy = make_toy(vectors, index=index, metric=metric, default_nprobe=16)
        async with serve(toy, placement=placement, devices=PLACEMENTS[placement]) as served:
            for found, away in answers(await served.neighbors(by_vector(near(vectors[7], 50)), 3)):
                assert found == toy.ids[[7, 500, 993]].tolist()
                assert len(set(away)) == 1

    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("index", ["Flat", "SQfp16", "IVF4,Flat", "IVF4,SQ8"])
    async def test_thousands_of_copies_are_in_order_too(self, make_toy, serve, by_vector, index, metric) -> None:
        vectors = with_copies(6000, 16, tuple(range(1, 6000, 2)))
        toy = make_toy(vectors, index=index, metric=metric, part_rows=6000)
        async with serve(toy) as served:
            reply = await served.neighbors(by_vector(np.repeat(vectors[1:2], 256, axis=0)), 40)
            assert all(found == toy.ids[1:81:2].tolist() for found, _ in answers(reply))


class TestEnough:
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("index", ["Flat", *LISTS, *WHOLE])
    async def test_reply_has_k_neighbors_or_all_images(self, make_toy, serve, by_vector, index, metric) -> None:
        vectors = with_copies(275)
        vectors[100:140] = vectors[100]
        toy = make_toy(vectors, index=index, metric=metric)
        async with serve(toy) as served:
            for k, effort in ((200, {}), (20, {"nprobe": 1}), (1, {"nprobe": 1}), (275, {}), (1000, {"nprobe": 2})):
                reply = await served.neighbors(by_vector(near(vectors[7], 30)), k, **effort)
                assert list(reply.neighbors.counts) == [min(k, 275)] * 30, (k, effort)
                assert all(len(set(found)) == min(k, 275) for found, _ in answers(reply))
                assert all(away == sorted(away) and np.isfinite(away).all() for _, away in answers(reply))

    async def test_graph_in_two_pieces_is_answered_exactly(self, make_toy, serve, by_vector) -> None:
        """Copies fill each other's links, so that no other vector can be reached from them."""
        vectors = with_copies(400, 16, tuple(range(200)))
        toy = make_toy(vectors, index="HNSW4,Flat")
        async with serve(toy) as served:
            reply = await served.neighbors(by_vector(vectors[:1]), 300)
            expected, _ = toy.brute_force(vectors[:1], 300)
            assert answers(reply)[0][0] == expected[0].tolist()
            assert (reply.served.nprobe, reply.served.expected_recall) == (0, 1)

    async def test_reply_has_the_number_of_lists(self, make_toy, serve, by_vector) -> None:
        async with serve(make_toy(with_copies(), index="IVF16,Flat")) as served:
            few = await served.neighbors(by_vector(with_copies()[:5]), 3, nprobe=1)
            many = await served.neighbors(by_vector(with_copies()[:5]), 500, nprobe=1)
        assert few.served.nprobe == 1
        assert 1 < many.served.nprobe < 16
