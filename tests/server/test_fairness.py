"""One caller's load is not paid by others: turns, pieces, shares and duplicates, on real servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import grpc
import numpy as np
import pytest
from tests.server.raw_caller import RawCaller

from lookalike import wire
from lookalike.v1 import collection_pb2, search_pb2, types_pb2
from lookalike_indexer.images.thumbnail_pool import ThumbnailPool, ThumbnailResult
from lookalike_server.common.limits import Limits
from lookalike_server.common.settings import Listen
from lookalike_server.transport.tokens import new_token

SEARCH = "/lookalike.v1.SearchService/Search"

# So that no clock affects these tests, on however busy a machine.
PATIENT = {"max_queue_ms": 600_000, "max_slow_queue_ms": 600_000}


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Steps:
    """A device that runs one batch for each `step`, or all of them once released; at the Device seam."""

    max_selection = None

    def __init__(self) -> None:
        self.name = "steps"
        self.batches: list[int] = []
        self._turns = threading.Semaphore(0)
        self._gone = False

    def step(self) -> None:
        self._turns.release()

    def let_go(self) -> None:
        self._gone = True
        self._turns.release()

    def host(self, index: Any) -> Any:
        steps = self

        class Stepping(type(index)):
            def search(self, values, k, *, params=None):
                steps.batches.append(len(values))
                assert steps._turns.acquire(timeout=60)
                if steps._gone:
                    steps._turns.release()
                return super().search(values, k, params=params)

        stepping = Stepping(index.d)
        stepping.add(index.reconstruct_n(0, index.ntotal))
        return stepping


def one(number: int = 5) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[number]))


@pytest.fixture
def steps() -> Any:
    device = Steps()
    yield device
    device.let_go()


def many(by_vector: Any, queries: int = 256, seed: int = 1) -> types_pb2.QueryBatch:
    return by_vector(np.random.default_rng(seed).standard_normal((queries, 16)).astype(np.float32))


class TestSearches:
    async def test_one_query_waits_for_the_running_batch_alone(self, make_toy, serve, steps, by_vector) -> None:
        async with serve(make_toy(), devices=[steps], limits=Limits(**PATIENT, max_queue=4096)) as served:
            # Two batches of different sizes, so that the server knows the cost of a query.
            for queries in (1, 8):
                known = asyncio.ensure_future(served.neighbors(many(by_vector, queries), 3))
                steps.step()
                await known
            heavy = [asyncio.ensure_future(served.neighbors(many(by_vector, seed=seed), 1000)) for seed in range(8)]
            await until(lambda: len(steps.batches) == 3 and served.app.queues()["search"] > 7 * 256)
            waiting = served.app.queues()["search"]
            light = asyncio.ensure_future(served.neighbors(one(), 3))
            await until(lambda: served.app.queues()["search"] == waiting + 1)
            steps.step()
            await until(lambda: len(steps.batches) == 4)
            assert not light.done()
            steps.step()
            assert list((await light).neighbors.counts) == [3], "it was in the batch after the one that ran"
            assert not any(call.done() for call in heavy[1:])
            steps.let_go()
            await asyncio.gather(*heavy)

    async def test_large_calls_do_not_fill_the_queue_for_small_callers(
        self, make_toy, serve, steps, by_vector, refused
    ) -> None:
        async with serve(make_toy(), devices=[steps], limits=Limits(**PATIENT)) as served:
            heavy = [asyncio.ensure_future(served.neighbors(many(by_vector, seed=seed), 3)) for seed in range(12)]
            done, _ = await asyncio.wait(heavy, return_when=asyncio.FIRST_COMPLETED)
            assert refused(done.pop().exception()).code is grpc.StatusCode.RESOURCE_EXHAUSTED
            light = [asyncio.ensure_future(served.neighbors(one(int(number)), 3)) for number in range(5, 45, 2)]
            await until(lambda: served.app.calls_in_flight >= 20 + 4)
            await asyncio.sleep(0.1)
            assert not any(call.done() for call in light), "none was refused"
            steps.let_go()
            for reply in await asyncio.gather(*light):
                assert list(reply.neighbors.counts) == [3]
            await asyncio.gather(*heavy, return_exceptions=True)

    async def test_peer_with_many_waiting_calls_does_not_block_another(self, make_toy, serve, steps) -> None:
        limits = Limits(**PATIENT, max_queue=50, max_batch=4)
        request = search_pb2.SearchRequest(query=one(), k=3).SerializeToString()
        async with serve(make_toy(), devices=[steps], limits=limits) as served:
            greedy = await asyncio.to_thread(RawCaller, served.app.address, source="127.0.0.2")
            for _ in range(60):
                await asyncio.to_thread(greedy.call, SEARCH, request)
            await until(lambda: served.app.queues()["search"] >= 50)
            light = asyncio.ensure_future(served.neighbors(one(), 3))
            await until(lambda: served.app.queues()["search"] >= 51)
            began = len(steps.batches)
            steps.step()
            await until(lambda: len(steps.batches) == began + 1)
            steps.step()
            assert list((await light).neighbors.counts) == [3]
            assert served.app.queues()["search"] > 30, "the other peer's calls wait their turns"
            steps.let_go()
            await until(lambda: served.app.calls_in_flight == 0)
            greedy.close()

    async def test_turns_are_shared_by_token_and_not_by_address(self, make_toy, serve, steps, tmp_path) -> None:
        (greedy, first_line), (light, second_line) = new_token("greedy", "read"), new_token("light", "read")
        file = tmp_path / "tokens"
        file.write_text(f"{first_line}\n{second_line}\n")
        limits = Limits(**PATIENT, max_queue=50, max_batch=4)
        listen = Listen(port=0, tokens=file)
        async with serve(make_toy(), devices=[steps], limits=limits, listen=listen) as served:

            def ask(token: str) -> asyncio.Future[search_pb2.SearchResponse]:
                request = search_pb2.SearchRequest(query=one(), k=3)
                return asyncio.ensure_future(
                    served.search.Search(request, metadata=(("authorization", f"Bearer {token}"),))
                )

            heavy = [ask(greedy) for _ in range(60)]
            await until(lambda: served.app.queues()["search"] >= 50)
            lone = ask(light)
            await until(lambda: served.app.queues()["search"] >= 51)
            began = len(steps.batches)
            steps.step()
            await until(lambda: len(steps.batches) == began + 1)
            steps.step()
            assert list((await lone).neighbors.counts) == [3]
            assert served.app.queues()["search"] > 30, "the other token's calls wait their turns"
            steps.let_go()
            await asyncio.gather(*heavy, return_exceptions=True)

    @pytest.mark.parametrize("index", ["Flat", "IVF8,Flat", "HNSW8"])
    async def test_call_in_pieces_has_the_answer_of_the_same_call_alone(
        self, make_toy, serve, by_vector, index
    ) -> None:
        toy = make_toy(index=index)
        queries = np.random.default_rng(3).standard_normal((256, 16)).astype(np.float32)
        async with serve(toy) as served:
            # The first batches are small, because the cost of a query is not known yet.
            cut = await served.neighbors(by_vector(queries), 10)
            singles = [await served.neighbors(by_vector(queries[row : row + 1]), 10) for row in range(0, 256, 5)]
            assert 1 <= cut.served.batch_size < 256
        found = wire.decode(cut.neighbors.ids).reshape(256, 10)
        for row, single in zip(range(0, 256, 5), singles, strict=True):
            np.testing.assert_array_equal(found[row], wire.decode(single.neighbors.ids))

    async def test_repeated_queries_of_a_call_are_searched_once(self, make_toy, serve, by_vector) -> None:
        toy, steps = make_toy(), Steps()
        steps.let_go()
        fields = search_pb2.NeighborFields(keys=True)
        async with serve(toy, devices=[steps]) as served:
            same = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[9] * 200 + [5] * 56))
            reply = await served.neighbors(same, 4, fields=fields)
            alone = [await served.neighbors(one(number), 4, fields=fields) for number in (9, 5)]
            assert steps.batches[0] == 2
        ids = wire.decode(reply.neighbors.ids).reshape(256, 4)
        for rows, single in zip((ids[:200], ids[200:]), alone, strict=True):
            assert (rows == wire.decode(single.neighbors.ids)).all()
        assert list(reply.neighbors.keys) == list(alone[0].neighbors.keys) * 200 + list(alone[1].neighbors.keys) * 56


class TestPictures:
    @pytest.fixture
    def gated(self, make_embedder) -> Any:
        """An embedder that runs one batch for each release of its semaphore."""

        def make(toy: Any) -> Any:
            embedder = make_embedder(toy)
            embedder.turns = threading.Semaphore(0)
            embedder.begun = []
            embed = embedder.embed

            def stepping(files: list[bytes]) -> Any:
                embedder.begun.append(len(files))
                assert embedder.turns.acquire(timeout=60)
                return embed(files)

            embedder.embed = stepping
            return embedder

        return make

    async def test_one_image_waits_for_a_batch_but_not_for_a_large_call(self, make_toy, serve, gated) -> None:
        toy = make_toy()
        embedder = gated(toy)
        pictures = types_pb2.QueryBatch(images=types_pb2.Images(data=[str(row).encode() for row in range(256)]))
        single = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"300"]))
        limits = Limits(**PATIENT)
        async with serve(toy, open_embedder=lambda reader, space: embedder, limits=limits) as served:
            large = asyncio.ensure_future(served.neighbors(pictures, 1))
            await until(lambda: len(embedder.begun) == 1)
            lone = asyncio.ensure_future(served.neighbors(single, 1))
            waiting = 256 - embedder.begun[0]
            await until(lambda: served.app.queues()["embedding"] == waiting + 1)
            for _ in range(2):
                embedder.turns.release()
            assert wire.decode((await lone).neighbors.ids)[0] == toy.ids[300]
            assert not large.done()
            for _ in range(300):
                embedder.turns.release()
            np.testing.assert_array_equal(wire.decode((await large).neighbors.ids), toy.ids[:256])
            assert max(embedder.begun) <= 16

    async def test_damaged_image_is_named_by_its_place_in_the_call(self, make_toy, serve, make_embedder) -> None:
        toy = make_toy()
        embedder = make_embedder(toy)
        data = [b"1"] * 20 + [str(row).encode() for row in range(60)] + [b"junk"]
        async with serve(toy, open_embedder=lambda reader, space: embedder) as served:
            with pytest.raises(grpc.aio.AioRpcError, match="Image 80 cannot be decoded") as caught:
                await served.neighbors(types_pb2.QueryBatch(images=types_pb2.Images(data=data)), 1)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_repeated_image_is_embedded_once(self, make_toy, serve, make_embedder) -> None:
        toy = make_toy()
        embedder = make_embedder(toy)
        query = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7"] * 255 + [b"8"]))
        async with serve(toy, open_embedder=lambda reader, space: embedder) as served:
            reply = await served.neighbors(query, 1)
        assert sum(embedder.batches) == 2
        assert list(wire.decode(reply.neighbors.ids)) == [toy.ids[7]] * 255 + [toy.ids[8]]


class TestThumbnails:
    @pytest.fixture
    def drawn(self, monkeypatch) -> list[Future[ThumbnailResult]]:
        """The images requested from the pool, which are made only by the test."""
        asked: list[Future[ThumbnailResult]] = []

        def make(self: ThumbnailPool, uri: str, size: int) -> Future[ThumbnailResult]:
            asked.append(Future())
            return asked[-1]

        monkeypatch.setattr(ThumbnailPool, "make", make)
        yield asked
        for future in asked:
            if not future.done():
                future.set_result(ThumbnailResult(b""))

    async def test_image_named_repeatedly_in_a_call_is_drawn_once(self, make_toy, serve, drawn) -> None:
        request = collection_pb2.GetThumbnailsRequest(ids=[5] * 256)
        async with serve(make_toy()) as served:
            call = asyncio.ensure_future(served.collection.GetThumbnails(request))
            await until(lambda: bool(drawn))
            drawn[0].set_result(ThumbnailResult(b"jpeg"))
            assert list((await call).jpegs) == [b"jpeg"] * 256
        assert len(drawn) == 1

    async def test_canceled_call_leaves_the_queue_and_small_calls_pass_large_ones(self, make_toy, serve, drawn) -> None:
        toy = make_toy()
        request = collection_pb2.GetThumbnailsRequest(ids=toy.ids[:256].tolist())
        async with serve(toy) as served:
            calls = [asyncio.ensure_future(served.collection.GetThumbnails(request)) for _ in range(4)]
            await until(lambda: served.app.queues()["thumbnails"] > 900)
            begun = len(drawn)
            for call in calls:
                call.cancel()
            await until(lambda: served.app.queues()["thumbnails"] == 0)
            light = asyncio.ensure_future(served.collection.GetThumbnails(collection_pb2.GetThumbnailsRequest(ids=[5])))
            await until(lambda: served.app.queues()["thumbnails"] == 1)
            drawn[0].set_result(ThumbnailResult(b"old"))
            await until(lambda: len(drawn) == begun + 1)
            drawn[-1].set_result(ThumbnailResult(b"new"))
            assert list((await light).jpegs) == [b"new"]
