from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from click.testing import CliRunner

import lookalike
from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, search_pb2, types_pb2
from lookalike_indexer.cli.import_vectors import import_vectors
from lookalike_indexer.errors import MismatchError
from lookalike_server.common.limits import Limits
from lookalike_server.placement.devices import Cpu, Gpu

FLAT = "Flat"
IVF = "IVF16,Flat"
COMPRESSED = "IVF16,SQ8"


def columns(reply: search_pb2.SearchResponse, k: int) -> tuple[np.ndarray, np.ndarray]:
    assert set(reply.neighbors.counts) == {k}
    return wire.decode(reply.neighbors.ids).reshape(-1, k), wire.decode(reply.neighbors.distances).reshape(-1, k)


def keys(*values: str) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(keys=types_pb2.Keys(values=values))


def ids(*values: int) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=values))


def queries(count: int, dim: int = 16) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((count, dim)).astype(np.float32)


class TestExact:
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("index", [FLAT, IVF, COMPRESSED, "IVF16,PQ4x4", "PCA8,IVF16,Flat"])
    @pytest.mark.parametrize(
        ("placement", "devices"),
        [
            ("cpu", None),
            ("shard", [Cpu("cpu:0"), Cpu("cpu:1"), Cpu("cpu:2")]),
            ("replicate", [Cpu("cpu:0"), Cpu("cpu:1")]),
        ],
    )
    async def test_is_brute_force(self, make_toy, serve, by_vector, metric, index, placement, devices) -> None:
        toy = make_toy(index=index, metric=metric)
        async with serve(toy, placement=placement, devices=devices) as served:
            for count in (1, 30):
                asked = queries(count)
                reply = await served.neighbors(by_vector(asked), 10, exact=True)
                expected_ids, expected = toy.brute_force(asked, 10)
                found_ids, found = columns(reply, 10)
                np.testing.assert_array_equal(found_ids, expected_ids)
                np.testing.assert_allclose(found, expected, atol=2e-6)
                assert reply.served.nprobe == 0
                assert reply.served.expected_recall == 1

    @pytest.mark.gpu
    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("index", [FLAT, IVF, COMPRESSED])
    @pytest.mark.parametrize("placement", ["gpu", "shard", "replicate"])
    async def test_is_brute_force_on_gpus(self, make_toy, serve, by_vector, metric, index, placement) -> None:
        toy = make_toy(index=index, metric=metric)
        async with serve(toy, placement=placement, devices=[Gpu(0)]) as served:
            asked = queries(30)
            reply = await served.neighbors(by_vector(asked), 10, exact=True)
            expected_ids, expected = toy.brute_force(asked, 10)
            found_ids, found = columns(reply, 10)
            np.testing.assert_array_equal(found_ids, expected_ids)
            np.testing.assert_allclose(found, expected, atol=1e-3)

    async def test_equal_distances_come_by_ascending_id(self, make_toy, serve, by_vector) -> None:
        vectors = np.repeat(np.eye(4, 16, dtype=np.float32), 50, axis=0)[::-1].copy()
        for index in (FLAT, IVF):
            toy = make_toy(vectors, index=index, name=index)
            async with serve(toy, placement="shard", devices=[Cpu("cpu:0"), Cpu("cpu:1")]) as served:
                reply = await served.neighbors(by_vector(np.eye(1, 16, dtype=np.float32)), 60, exact=True)
                found, distances = columns(reply, 60)
                np.testing.assert_array_equal(found[0, :50], toy.ids[150:])
                np.testing.assert_array_equal(distances[0, :50], 0)

    async def test_collection_with_fewer_images_answers_with_fewer(self, make_toy, serve, by_vector) -> None:
        for index in (FLAT, "IVF2,Flat", "IVF2,SQ8"):
            toy = make_toy(queries(7), index=index, name=index)
            for placement, devices in (("cpu", None), ("shard", [Cpu("a"), Cpu("b")])):
                async with serve(toy, placement=placement, devices=devices) as served:
                    reply = await served.neighbors(by_vector(queries(2)), 100, exact=True)
                    assert list(reply.neighbors.counts) == [7, 7]
                    found = wire.decode(reply.neighbors.ids).reshape(2, 7)
                    np.testing.assert_array_equal(found, toy.brute_force(queries(2), 7)[0])
                    assert np.isfinite(wire.decode(reply.neighbors.distances)).all()


class TestEffort:
    async def test_nprobe_recall_and_default_explain_what_was_done(self, make_toy, serve, by_vector) -> None:
        toy = make_toy(index=IVF, default_nprobe=4)
        async with serve(toy) as served:
            for parameters, nprobe, recall in (
                ({}, 4, 0.0),
                ({"exact": False}, 4, 0.0),
                ({"nprobe": 8}, 8, 0.95),
                ({"nprobe": 1000}, 16, 0.0),
                ({"recall": 0.6}, 2, 0.7),
                ({"recall": 0.9}, 8, 0.95),
                ({"exact": True}, 0, 1.0),
            ):
                reply = await served.neighbors(by_vector(queries(1)), 3, **parameters)
                assert reply.served.nprobe == nprobe, parameters
                assert reply.served.expected_recall == pytest.approx(recall), parameters

    async def test_one_list_finds_less_than_all(self, make_toy, serve, by_vector) -> None:
        toy = make_toy(index=IVF)
        asked = queries(50)
        expected, _ = toy.brute_force(asked, 10)

        def recall(reply: search_pb2.SearchResponse) -> float:
            found, _ = columns(reply, 10)
            return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, expected, strict=True)]))

        async with serve(toy) as served:
            few = recall(await served.neighbors(by_vector(asked), 10, nprobe=1))
            all_lists = recall(await served.neighbors(by_vector(asked), 10, nprobe=16))
        assert 0.1 < few < 0.8
        assert all_lists == 1

    async def test_unreached_recall_is_a_failed_precondition(self, make_toy, serve, by_vector, refused) -> None:
        async with serve(make_toy(index=IVF)) as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(by_vector(queries(1)), 3, recall=0.99)
        error = refused(caught.value)
        assert error.code == grpc.StatusCode.FAILED_PRECONDITION
        assert "0.95" in error.message

    async def test_flat_index_reaches_any_recall(self, make_toy, serve, by_vector) -> None:
        async with serve(make_toy()) as served:
            reply = await served.neighbors(by_vector(queries(1)), 3, recall=1.0)
        assert reply.served.expected_recall == 1

    @pytest.mark.parametrize(
        ("parameters", "field"),
        [
            ({"nprobe": 0}, "nprobe"),
            ({"nprobe": 5000}, "nprobe"),
            ({"recall": 0.0}, "recall"),
            ({"recall": 1.5}, "recall"),
            ({"recall": float("nan")}, "recall"),
        ],
    )
    async def test_out_of_range(self, make_toy, serve, by_vector, refused, parameters, field) -> None:
        async with serve(make_toy(index=IVF)) as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(by_vector(queries(1)), 3, **parameters)
        assert refused(caught.value).code == grpc.StatusCode.INVALID_ARGUMENT
        assert refused(caught.value).fields == [field]


class TestStored:
    async def test_stored_image_excludes_itself_by_default(self, make_toy, serve) -> None:
        toy = make_toy()
        rows = [3, 490, 250]
        own = toy.ids[rows]
        expected, distances = toy.brute_force(toy.vectors[rows], 6)
        async with serve(toy) as served:
            for query in (ids(*own), keys(*[toy.key(one) for one in own])):
                found, found_distances = columns(await served.neighbors(query, 5), 5)
                np.testing.assert_array_equal(found, expected[:, 1:])
                np.testing.assert_allclose(found_distances, distances[:, 1:], atol=1e-6)
                found, _ = columns(await served.neighbors(query, 5, include_self=True), 5)
                np.testing.assert_array_equal(found, expected[:, :5])
                np.testing.assert_array_equal(found[:, 0], own)

    async def test_duplicates_do_not_bring_the_image_itself_back(self, make_toy, serve) -> None:
        vectors = np.vstack([np.ones((20, 16)), queries(30)]).astype(np.float32)
        toy = make_toy(vectors)
        async with serve(toy) as served:
            found, _ = columns(await served.neighbors(ids(int(toy.ids[19])), 5), 5)
            assert toy.ids[19] not in found
            assert set(found[0]) <= set(toy.ids[:19])
            found, _ = columns(await served.neighbors(ids(int(toy.ids[0])), 5), 5)
            assert toy.ids[0] not in found

    async def test_single_image_has_no_neighbor(self, make_toy, serve) -> None:
        toy = make_toy(queries(1))
        async with serve(toy) as served:
            reply = await served.neighbors(ids(5), 3)
        assert list(reply.neighbors.counts) == [0]

    async def test_columns_are_returned_on_request(self, make_toy, serve) -> None:
        toy = make_toy()
        async with serve(toy) as served:
            fields = search_pb2.NeighborFields(keys=True, labels=True, uris=True)
            reply = await served.neighbors(ids(5, 7), 4, fields=fields)
            bare = await served.neighbors(ids(5, 7), 4)
        found = wire.decode(reply.neighbors.ids)
        assert list(reply.neighbors.keys) == [toy.key(one) for one in found]
        assert list(reply.neighbors.labels) == [f"label{one % 3}" if one % 3 else "" for one in found]
        assert all(
            uri.endswith("red.jpg") or one == toy.ids[1] for uri, one in zip(reply.neighbors.uris, found, strict=True)
        )
        assert not bare.neighbors.keys
        assert not bare.neighbors.labels
        assert not bare.neighbors.uris

    async def test_unknown_images_and_spaces(self, make_toy, serve, refused) -> None:
        toy = make_toy()
        without_embedding = int(toy.ids[-1] + 2)
        async with serve(toy) as served:
            for query, space, named in (
                (keys("no/such.jpg"), "", "no/such.jpg"),
                (keys(toy.key(5), "é"), "", "é"),
                (ids(5, 6), "", "6"),
                (ids(-1), "", "-1"),
                (ids(2**62), "", str(2**62)),
                (ids(5), "other", "other"),
                (ids(without_embedding), "", str(without_embedding)),
                (keys(toy.key(without_embedding)), "", toy.key(without_embedding)),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.neighbors(query, 3, space=space)
                assert refused(caught.value).code == grpc.StatusCode.NOT_FOUND
                assert refused(caught.value).reason == "NOT_FOUND"
                assert named in refused(caught.value).message

    async def test_key_too_long_for_a_header_is_not_found_either(self, make_toy, serve, refused) -> None:
        async with serve(make_toy()) as served:
            for key in ("é" * 500_000, "\U0001f600" * 590, "%" * 5000, "\x01" * 5000):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.neighbors(keys(key), 3)
                assert refused(caught.value).code == grpc.StatusCode.NOT_FOUND
                assert len(refused(caught.value).message) < 1000

    async def test_space_without_an_index(self, make_toy, serve, by_vector, refused) -> None:
        async with serve(make_toy(index=None)) as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(by_vector(queries(1)), 3)
        assert refused(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION
        assert "lookalike build" in refused(caught.value).message


class TestVectors:
    async def test_half_precision_is_as_good(self, make_toy, serve, by_vector) -> None:
        toy = make_toy()
        asked = queries(3).astype(np.float16)
        async with serve(toy) as served:
            found, _ = columns(await served.neighbors(by_vector(asked, toy.fingerprint), 5), 5)
        np.testing.assert_array_equal(found, toy.brute_force(asked.astype(np.float32), 5)[0])

    async def test_malformed_queries_are_rejected(self, make_toy, serve, by_vector, refused) -> None:
        nan = queries(2)
        nan[1, 3] = np.nan
        short = by_vector(queries(1))
        short.vectors.values.data = short.vectors.values.data[:-1]
        untyped = by_vector(queries(1))
        untyped.vectors.values.element_type = types_pb2.ELEMENT_TYPE_UNSPECIFIED
        async with serve(make_toy(), limits=Limits(max_batch=4)) as served:
            for query, k, field in (
                (by_vector(queries(1, 15)), 3, "query.vectors.values"),
                (by_vector(queries(1)[0]), 3, None),
                (by_vector(np.zeros((1, 16), np.int32)), 3, "query.vectors.values"),
                (by_vector(np.zeros((0, 16), np.float32)), 3, "query.vectors"),
                (by_vector(queries(5)), 3, "query.vectors"),
                (by_vector(nan), 3, "query"),
                (by_vector(nan * np.inf), 3, "query"),
                (by_vector(queries(1) * np.float32(1e20)), 3, "query"),
                (short, 3, "query.vectors.values"),
                (untyped, 3, "query.vectors.values"),
                (types_pb2.QueryBatch(), 3, "query"),
                (keys(), 3, None),
                (ids(*range(5)), 3, "query.ids"),
                (by_vector(queries(1)), 0, "k"),
                (by_vector(queries(1)), -1, "k"),
                (by_vector(queries(1)), 5000, "k"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.neighbors(query, k)
                error = refused(caught.value)
                assert error.code == grpc.StatusCode.INVALID_ARGUMENT
                assert error.reason == "ARGUMENT"
                if field is not None:
                    assert error.fields == [field], error.message

    async def test_vectors_of_another_space_are_rejected_with_both_named(
        self, make_toy, serve, by_vector, refused
    ) -> None:
        toy = make_toy()
        async with serve(toy) as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(by_vector(queries(1), "f" * 64), 3)
        error = refused(caught.value)
        assert error.code == grpc.StatusCode.FAILED_PRECONDITION
        assert error.reason == "MISMATCH"
        for named in ("f" * 64, toy.fingerprint, "squeezenet1_1", "untrained:7", "flatten", "avg"):
            assert named in error.message


class TestPictures:
    async def test_image_is_embedded_and_searched(self, make_toy, serve, make_embedder) -> None:
        toy = make_toy()
        embedder = make_embedder(toy)
        async with serve(toy, open_embedder=lambda reader, space: embedder) as served:
            query = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7", b"200"]))
            reply = await served.neighbors(query, 5)
            found, _ = columns(reply, 5)
            assert embedder.closed is False
        np.testing.assert_array_equal(found, toy.brute_force(toy.vectors[[7, 200]], 5)[0])
        assert reply.served.timings.resolve_us > 0
        assert embedder.closed is True

    async def test_broken_image_is_an_invalid_argument(self, make_toy, serve, make_embedder, refused) -> None:
        toy = make_toy()
        async with serve(toy, open_embedder=lambda reader, space: make_embedder(toy)) as served:
            query = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7", b"junk"]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(query, 5)
        assert refused(caught.value).code == grpc.StatusCode.INVALID_ARGUMENT
        assert refused(caught.value).reason == "DECODE"
        assert "Image 1" in refused(caught.value).message

    async def test_image_over_the_limit_is_rejected(self, make_toy, serve, make_embedder, refused) -> None:
        toy = make_toy()
        limits = Limits(max_image_bytes=10)
        async with serve(toy, limits=limits, open_embedder=lambda reader, space: make_embedder(toy)) as served:
            query = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7" * 11]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(query, 5)
        assert refused(caught.value).fields == ["query.images"]

    @pytest.mark.parametrize("method", ["Search", "GetMembership", "GetVectors"])
    async def test_text_query_is_rejected_in_a_space_without_a_text_model(
        self, make_toy, serve, refused, method
    ) -> None:
        query = types_pb2.QueryBatch(texts=types_pb2.QueryTexts(values=["a red bus"]))
        async with serve(make_toy(clusters=2)) as served:
            ask = {
                "Search": lambda: served.neighbors(query, 5),
                "GetMembership": lambda: served.cluster.GetMembership(cluster_pb2.GetMembershipRequest(query=query)),
                "GetVectors": lambda: served.search.GetVectors(search_pb2.GetVectorsRequest(query=query)),
            }[method]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask()
        assert refused(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION
        assert refused(caught.value).message == (
            "The space tiny cannot be searched by text: its model squeezenet1_1 embeds images only. Search with "
            "an image, a key or a vector, or in a space of --model open_clip/NAME."
        )

    async def test_text_where_vectors_were_imported(self, make_toy, serve, refused, tmp_path) -> None:
        np.save(tmp_path / "vectors.npy", np.eye(3, dtype=np.float32))
        toy = dataclasses.replace(make_toy(), root=tmp_path / "own")
        (tmp_path / "keys.txt").write_text("a\nb\nc\n")
        line = [str(tmp_path / "vectors.npy"), "--keys", str(tmp_path / "keys.txt"), "--space", "mine"]
        line += ["--collection", str(toy.root)]
        result = CliRunner().invoke(import_vectors, line)
        assert result.exit_code == 0, result.output
        query = types_pb2.QueryBatch(texts=types_pb2.QueryTexts(values=["a red bus"]))
        async with serve(toy) as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(query, 1)
        assert "its vectors were imported, and no model is known" in refused(caught.value).message

    async def test_without_weights_the_rest_still_works(self, make_toy, serve, by_vector, refused) -> None:
        async with serve(make_toy()) as served:
            query = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7"]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(query, 5)
            await served.neighbors(by_vector(queries(1)), 5)
        assert refused(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION
        assert refused(caught.value).reason == "WEIGHTS"

    async def test_network_with_another_fingerprint_is_rejected(self, make_toy, serve, make_embedder, refused) -> None:
        toy = make_toy()
        other = make_embedder(toy)
        other.fingerprint = "e" * 64
        async with serve(toy, open_embedder=lambda reader, space: other) as served:
            query = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7"]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(query, 5)
        assert refused(caught.value).reason == MismatchError.__name__.removesuffix("Error").upper()
        assert other.closed


class Slow:
    """A device that blocks until its gate is opened, and can fail; at the Device seam."""

    max_selection = None

    def __init__(self, name: str = "slow") -> None:
        self.name = name
        self.batches: list[int] = []
        self.fail_next = False
        self.gate = threading.Event()

    def host(self, index):
        slow = self

        class Slowed(type(index)):
            def search(self, values, k, *, params=None):
                slow.batches.append(len(values))
                failing = slow.fail_next
                assert slow.gate.wait(60)
                if failing:
                    slow.fail_next = False
                    raise RuntimeError("CUDA error 700 at 0xdeadbeef")
                return super().search(values, k, params=params)

        slowed = Slowed(index.d)
        slowed.add(index.reconstruct_n(0, index.ntotal))
        return slowed


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class TestUnderLoad:
    async def test_concurrent_calls_share_a_batch_and_each_gets_its_own_answer(
        self, make_toy, serve, by_vector
    ) -> None:
        toy = make_toy()
        slow = Slow()
        asked = queries(40)
        async with serve(toy, devices=[slow], limits=Limits(max_queue_ms=60_000)) as served:
            calls = [asyncio.ensure_future(served.neighbors(by_vector(asked[[0]]), 5))]
            await until(lambda: slow.batches)
            calls += [asyncio.ensure_future(served.neighbors(by_vector(asked[[i]]), 5 + i % 3)) for i in range(1, 40)]
            await until(lambda: served.app.queues()["search"] == 39)
            await asyncio.sleep(0.05)
            slow.gate.set()
            replies = await asyncio.gather(*calls)
        for i, reply in enumerate(replies):
            found, _ = columns(reply, 5 + i % 3)
            np.testing.assert_array_equal(found[0], toy.brute_force(asked[[i]], 5 + i % 3)[0][0])
        assert slow.batches == [1, 39]
        assert max(reply.served.batch_size for reply in replies) == max(slow.batches)
        assert max(reply.served.timings.queue_us for reply in replies) > 40_000

    async def test_expired_and_cancelled_calls_cost_no_device_time(self, make_toy, serve, by_vector) -> None:
        toy = make_toy()
        slow = Slow()
        async with serve(toy, devices=[slow], limits=Limits(max_queue_ms=60_000)) as served:
            first = asyncio.ensure_future(served.neighbors(by_vector(queries(1)), 3))
            await until(lambda: slow.batches)
            request = search_pb2.SearchRequest(query=by_vector(queries(5)), k=3)
            leaving = served.search.Search(request)
            await until(lambda: served.app.queues()["search"] == 5)
            expiring = served.search.Search(request, timeout=0.2)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await expiring
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            leaving.cancel()
            await until(lambda: served.app.calls_in_flight == 1)
            slow.gate.set()
            await first
            await served.neighbors(by_vector(queries(1)), 3)
        assert slow.batches == [1, 1]

    async def test_full_queue_reports_retry_after(self, make_toy, serve, by_vector, refused) -> None:
        slow = Slow()
        limits = Limits(max_queue=2, max_queue_ms=60_000)
        async with serve(make_toy(), devices=[slow], limits=limits) as served:
            first = asyncio.ensure_future(served.neighbors(by_vector(queries(1)), 3))
            await until(lambda: slow.batches)
            calls = [asyncio.ensure_future(served.neighbors(by_vector(queries(1)), 3)) for _ in range(6)]
            await until(lambda: sum(call.done() for call in calls) == 4)
            slow.gate.set()
            results = await asyncio.gather(*calls, return_exceptions=True)
            await first
        errors = [refused(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert len(errors) == 4, "one is being searched and two may wait"
        assert all(error.code == grpc.StatusCode.RESOURCE_EXHAUSTED for error in errors)
        assert all(error.reason == "OVERLOADED" for error in errors)
        assert all(error.retry_after is not None and error.retry_after >= 0.05 for error in errors)

    async def test_failing_batch_answers_its_waiters_and_no_other(
        self, make_toy, serve, by_vector, refused, caplog
    ) -> None:
        toy = make_toy()
        slow = Slow()
        async with serve(toy, devices=[slow], limits=Limits(max_queue_ms=60_000)) as served:
            first = asyncio.ensure_future(served.neighbors(by_vector(queries(1)), 3))
            await until(lambda: slow.batches)
            second = [asyncio.ensure_future(served.neighbors(by_vector(queries(1)), 3)) for _ in range(4)]
            await until(lambda: served.app.queues()["search"] == 4)
            slow.fail_next = True
            slow.gate.set()
            await first
            results = await asyncio.gather(*second, return_exceptions=True)
            errors = [refused(result) for result in results]
            assert {error.code for error in errors} == {grpc.StatusCode.UNAVAILABLE}
            assert not any("0xdeadbeef" in error.message for error in errors)
            found, _ = columns(await served.neighbors(by_vector(queries(1)), 3), 3)
        np.testing.assert_array_equal(found, toy.brute_force(queries(1), 3)[0])
        assert slow.batches == [1, 4, 1, 1], "between them the device was tried, and kept its index"
        assert "0xdeadbeef" in caplog.text

    async def test_unexpected_error_is_internal_and_only_logged(
        self, make_toy, serve, by_vector, refused, caplog, monkeypatch
    ) -> None:
        async with serve(make_toy()) as served:

            def broken(*_: object) -> None:
                raise ZeroDivisionError("secret 42")

            monkeypatch.setattr(served.app.current.snapshot.columns, "keys", broken)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(by_vector(queries(1)), 3, fields=search_pb2.NeighborFields(keys=True))
        error = refused(caught.value)
        assert error.code == grpc.StatusCode.INTERNAL
        assert "secret" not in error.message
        assert "secret 42" in caplog.text


class TestServed:
    async def test_says_what_answered(self, make_toy, serve, by_vector) -> None:
        toy = make_toy(index=IVF)
        async with serve(toy, placement="shard", devices=[Cpu("cpu:0"), Cpu("cpu:1")]) as served:
            said = (await served.neighbors(by_vector(queries(2)), 3)).served
        assert (said.collection, said.generation, said.space) == ("toys", 1, "tiny")
        assert said.device == "shard(cpu:0,cpu:1)"
        assert said.batch_size == 2
        assert said.pretrained is False
        timings = said.timings
        assert timings.search_us > 0
        assert timings.total_us >= timings.search_us + timings.queue_us

    async def test_replicas_both_take_batches(self, make_toy, serve, by_vector) -> None:
        slow = [Slow("slow:0"), Slow("slow:1")]
        limits = Limits(max_queue_ms=60_000)
        async with serve(make_toy(), placement="replicate", devices=slow, limits=limits) as served:
            # One call after the other: the first free device would take all that are there.
            calls = [asyncio.ensure_future(served.neighbors(by_vector(queries(1)), 3))]
            await until(lambda: any(one.batches for one in slow))
            calls.append(asyncio.ensure_future(served.neighbors(by_vector(queries(1)), 3)))
            await until(lambda: all(one.batches for one in slow))
            for one in slow:
                one.gate.set()
            replies = await asyncio.gather(*calls)
        assert {reply.served.device for reply in replies} == {"slow:0", "slow:1"}
        assert [one.batches for one in slow] == [[1], [1]]


class TestDirections:
    TINY = np.full(16, 1e-42, np.float32)

    @pytest.mark.parametrize("index", [FLAT, IVF, COMPRESSED])
    @pytest.mark.parametrize("effort", [{}, {"exact": True}])
    async def test_query_without_direction_is_rejected_by_its_number(
        self, make_toy, serve, by_vector, refused, index, effort
    ) -> None:
        async with serve(make_toy(index=index)) as served:
            for blank in (np.zeros(16, np.float32), self.TINY):
                asked = np.concatenate([queries(2), blank[None]])
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.neighbors(by_vector(asked), 3, **effort)
                error = refused(caught.value)
                assert (error.code, error.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["query.vectors"])
                assert "Query 2 has no direction" in error.message
            small = await served.neighbors(by_vector(queries(2) * np.float32(1e-30)), 3, **effort)
            usual = await served.neighbors(by_vector(queries(2)), 3, **effort)
            assert small.neighbors.ids == usual.neighbors.ids

    async def test_stored_image_without_direction_is_named_by_its_key(self, make_toy, serve, refused) -> None:
        vectors = queries(20)
        vectors[7] = 0
        toy = make_toy(vectors)
        key = toy.key(int(toy.ids[7]))
        async with serve(toy) as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(keys(toy.key(int(toy.ids[1])), key), 3)
            assert f"Query 1 ({key!r}) has no direction" in refused(caught.value).message

    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    async def test_reply_names_the_metric_of_its_distances(self, make_toy, serve, by_vector, metric: str) -> None:
        async with serve(make_toy(metric=metric)) as served, lookalike.aio.Client(served.app.address) as client:
            reply = await served.neighbors(by_vector(queries(2)), 3)
            assert reply.metric == {"cosine": collection_pb2.METRIC_COSINE, "l2": collection_pb2.METRIC_L2}[metric]
            assert (await client.search(vectors=queries(2), k=3)).metric == metric
            assert (await client.search(vector=queries(1)[0], k=3)).metric == metric

    async def test_distances_of_zero_are_euclidean_where_the_index_is(self, make_toy, serve, by_vector) -> None:
        toy = make_toy(metric="l2")
        zero = np.zeros((256, 16), np.float32)
        async with serve(toy) as served:
            found, _ = columns(await served.neighbors(by_vector(zero), 3), 3)
        np.testing.assert_array_equal(found, toy.brute_force(zero, 3)[0])

    async def test_client_rejects_a_mismatch_before_searching(self, make_toy, serve) -> None:
        for metric in ("cosine", "l2"):
            toy = make_toy(metric=metric, name=metric)
            async with serve(toy) as served, lookalike.aio.Client(served.app.address) as client:
                for blank in (np.zeros(16), np.full(16, 1e-60), self.TINY):
                    asked = np.concatenate([queries(1), blank[None]])
                    if metric == "l2":
                        assert len((await client.search(vectors=asked, k=3))[1]) == 3
                        continue
                    with pytest.raises(lookalike.InvalidArgumentError, match="Query 1 has no direction"):
                        await client.search(vectors=asked, k=3)
