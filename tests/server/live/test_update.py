"""Changes to a served collection through its service: the next call sees them; invalid ones are rejected."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

import faiss
import grpc
import numpy as np
import pytest

from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, filter_pb2, search_pb2, server_pb2, types_pb2, update_pb2
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.rows import UnindexedVectors
from lookalike_server.common.limits import Limits
from lookalike_server.live.graph import LiveGraph
from lookalike_server.live.grown import Grown

DIM = 8
KINDS = ("Flat", "IVF16,Flat", "HNSW8", "IVF16,SQ8", "IVF16,PQ4", "PCA4,IVF16,Flat")


def random(rows: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)


def upsert(keys: Sequence[str], vectors: Any, **more: Any) -> update_pb2.UpsertRequest:
    values = types_pb2.Vectors(values=wire.encode(np.asarray(vectors, np.float32)))
    return update_pb2.UpsertRequest(keys=keys, vectors=[update_pb2.SpaceVectors(vectors=values)], **more)


def delete(*keys: str) -> update_pb2.DeleteRequest:
    return update_pb2.DeleteRequest(keys=keys)


def by_keys(*keys: str) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(keys=types_pb2.Keys(values=keys))


def by_vectors(values: Any) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(np.asarray(values, np.float32))))


EVERY = search_pb2.NeighborFields(keys=True, labels=True)


async def nearest(served: Any, vector: Any, k: int = 3, **more: Any) -> list[str]:
    """Return the keys of the k nearest images."""
    reply = await served.neighbors(by_vectors([vector]), k, fields=EVERY, **more)
    return list(reply.neighbors.keys)


async def listed(served: Any, page_size: int = 1000, **more: Any) -> list[str]:
    """Return the keys of all images."""
    keys: list[str] = []
    token = ""
    while True:
        page = await served.collection.ListImages(
            collection_pb2.ListImagesRequest(page_size=page_size, page_token=token, **more)
        )
        keys += page.images.keys
        token = page.next_page_token
        if not token:
            assert page.total == len(keys)
            return keys


@pytest.mark.parametrize("index", KINDS)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
async def test_new_image_is_found_immediately_with_every_index(make_toy, serve, index, metric) -> None:
    toy = make_toy(random(300), index=index, metric=metric)
    async with serve(toy, writable=True) as served:
        done = await served.update.Upsert(upsert(["new/a.jpg", "new/b.jpg"], random(2, seed=9), labels=["x", ""]))
        assert (done.sequence, done.replaced, list(done.rejects)) == (1, 0, [])
        ids = wire.decode(done.ids).tolist()
        assert ids == [ids[0], ids[0] + 1]
        assert ids[0] > toy.ids[-1]
        for number, key in enumerate(["new/a.jpg", "new/b.jpg"]):
            for effort in ({}, {"exact": True}):
                reply = await served.neighbors(by_vectors([random(2, seed=9)[number]]), 5, fields=EVERY, **effort)
                assert reply.neighbors.keys[0] == key
                assert wire.decode(reply.neighbors.ids)[0] == ids[number]
                assert wire.decode(reply.neighbors.distances)[0] == pytest.approx(0, abs=1e-3)
                assert (reply.served.sequence, len(reply.neighbors.keys)) == (1, 5)
                assert reply.neighbors.labels[0] == ("x" if number == 0 else "")
        # By key, as a stored image, without itself.
        reply = await served.neighbors(by_keys("new/a.jpg"), 3, fields=EVERY)
        assert "new/a.jpg" not in reply.neighbors.keys
        assert (await served.neighbors(by_keys("new/a.jpg"), 1, include_self=True, fields=EVERY)).neighbors.keys == [
            "new/a.jpg"
        ]


@pytest.mark.parametrize("index", KINDS)
async def test_deleted_images_are_gone_and_k_is_full(make_toy, serve, index) -> None:
    toy = make_toy(random(300), index=index)
    async with serve(toy, writable=True) as served:
        gone = [toy.key(number) for number in toy.ids[:180]]
        for start in (0, 20, 100):
            stop = {0: 20, 20: 100, 100: 180}[start]
            done = await served.update.Delete(delete(*gone[start:stop], "not/there.jpg"))
            assert (done.deleted, done.unknown) == (stop - start, 1)
            left = {toy.key(number) for number in toy.ids[stop:]}
            for effort in ({}, {"exact": True}):
                for vector in random(5, seed=3):
                    found = await nearest(served, vector, 30, **effort)
                    assert set(found) <= left
                    assert len(found) == min(30, len(left))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.neighbors(by_keys(gone[0]), 1)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        # Again, which is no error.
        done = await served.update.Delete(delete(gone[0]))
        assert (done.deleted, done.unknown) == (0, 1)


async def test_replaced_image_has_a_new_id_and_only_its_new_vector(make_toy, serve) -> None:
    toy = make_toy(random(100), clusters=3)
    key, old = toy.key(5), toy.vectors[0]
    async with serve(toy, writable=True) as served:
        for number in range(3):
            vector = random(1, seed=50 + number)
            done = await served.update.Upsert(upsert([key], vector, labels=[f"v{number}"]))
            assert done.replaced == 1
            assert (await nearest(served, vector[0], 1)) == [key]
            assert key not in await nearest(served, old, 1)
            page = await served.collection.GetImages(collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=[key])))
            assert wire.decode(page.images.ids).tolist() == wire.decode(done.ids).tolist()
            assert list(page.images.labels) == [f"v{number}"]
        with pytest.raises(grpc.aio.AioRpcError, match="no image with id 5"):
            await served.neighbors(types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5])), 1)
        keys = await listed(served)
        assert len(keys) == len(set(keys)) == 101
        assert keys.count(key) == 1


async def test_labels_pages_clusters_and_filters_agree_immediately(make_toy, attach, serve) -> None:
    toy = make_toy(random(60), clusters=3)
    attach(toy, price=list(range(60)), tag=["cheap" if row < 30 else None for row in range(60)])
    async with serve(toy, writable=True) as served:
        near = toy.vectors[:2] + 0.001
        values = [
            filter_pb2.AttributeValues(name="price", type="int64", numbers=wire.encode(np.array([1000, 2000]))),
            filter_pb2.AttributeValues(
                name="tag", type="string", texts=["cheap", ""], nulls=wire.encode(np.array([1]))
            ),
        ]
        await served.update.Upsert(upsert(["n/0", "n/1"], near, labels=["fresh", ""], attributes=values))
        assert set(await listed(served, label="fresh")) == {"n/0"}
        assert set(await listed(served, filter=filter_pb2.Filter(text="price >= 1000"))) == {"n/0", "n/1"}
        assert "n/0" in await listed(served, filter=filter_pb2.Filter(text="tag = 'cheap'"))
        assert len(await listed(served, filter=filter_pb2.Filter(text="tag = 'cheap'"))) == 31
        found = await nearest(served, near[1], 1, filter=filter_pb2.Filter(text="tag = 'cheap'"))
        assert found != ["n/1"]
        labels = await served.collection.ListLabels(collection_pb2.ListLabelsRequest())
        assert "fresh" in labels.labels
        # Membership by key, by vector and among the members.
        membership = (
            await served.cluster.GetMembership(cluster_pb2.GetMembershipRequest(query=by_keys("n/0")))
        ).memberships[0]
        cluster = int(wire.decode(membership.clusters)[0])
        assert cluster == 0
        request = cluster_pb2.ListMembersRequest(clustering="tiny/k3", cluster=cluster, page_size=100)
        assert "n/0" in (await served.cluster.ListMembers(request)).members.keys
        sizes = (await served.cluster.ListClusters(cluster_pb2.ListClustersRequest(clustering="tiny/k3"))).sizes
        assert wire.decode(sizes).sum() == 62
        # Set keeps the id and the vector.
        before = wire.decode(
            (
                await served.collection.GetImages(
                    collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=["n/1", toy.key(5)]))
                )
            ).images.ids
        )
        price = filter_pb2.AttributeValues(name="price", type="int64", numbers=wire.encode(np.array([-7])))
        await served.update.Set(update_pb2.SetRequest(keys=["n/1", toy.key(5)], label="other", attributes=[price]))
        page = await served.collection.GetImages(
            collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=["n/1", toy.key(5)]), fields=["price", "tag"])
        )
        assert wire.decode(page.images.ids).tolist() == before.tolist()
        assert list(page.images.labels) == ["other", "other"]
        assert wire.decode(page.images.attributes[0].numbers).tolist() == [-7, -7]
        assert list(page.images.attributes[1].texts) == ["", "cheap"]
        assert set(await listed(served, filter=filter_pb2.Filter(text="price < 0 and label = 'other'"))) == {
            "n/1",
            toy.key(5),
        }
        # Deletion by filter.
        done = await served.update.Delete(update_pb2.DeleteRequest(filter=filter_pb2.Filter(text="price < 0")))
        assert done.deleted == 2
        assert await listed(served, label="fresh") == ["n/0"]
        sizes = (await served.cluster.ListClusters(cluster_pb2.ListClustersRequest(clustering="tiny/k3"))).sizes
        assert wire.decode(sizes).sum() == 60
        reply = await served.neighbors(
            by_vectors([near[0]]), 3, grouping=search_pb2.Grouping(column="label"), fields=EVERY
        )
        assert reply.neighbors.keys[0] == "n/0"
        assert "other" not in reply.neighbors.labels


async def test_vectors_of_new_images_round_trip(make_toy, serve) -> None:
    toy = make_toy(random(20))
    async with serve(toy, writable=True) as served:
        given = random(2, seed=4)
        await served.update.Upsert(upsert(["a", "b"], given))
        reply = await served.search.GetVectors(search_pb2.GetVectorsRequest(query=by_keys("b", toy.key(5), "a")))
        assert np.array_equal(wire.decode(reply.vectors), np.stack([given[1], toy.vectors[0], given[0]]))
        near = await served.neighbors(by_vectors([given[0]]), 4, fields=search_pb2.NeighborFields(vectors=True))
        assert np.array_equal(wire.decode(near.neighbors.vectors)[0], given[0])


async def test_images_are_embedded_and_bad_ones_come_back_as_rejects(make_toy, serve, make_embedder) -> None:
    toy = make_toy(random(30))
    async with serve(toy, writable=True, open_embedder=lambda reader, space: make_embedder(toy)) as served:
        done = await served.update.Upsert(
            update_pb2.UpsertRequest(keys=["a", "bad", "b"], images=[b"7", b"x", b"9"], labels=["la", "", "lb"])
        )
        assert [(reject.row, reject.message) for reject in done.rejects] == [
            (1, "Image 1 cannot be decoded: it is no number.")
        ]
        ids = wire.decode(done.ids).tolist()
        assert ids[1] == -1
        assert set(await nearest(served, toy.vectors[9], 2)) == {"b", toy.key(int(toy.ids[9]))}
        assert "bad" not in await listed(served)
        # All of them are invalid: nothing changes.
        done = await served.update.Upsert(update_pb2.UpsertRequest(keys=["bad"], images=[b"x"]))
        assert (done.sequence, len(done.rejects)) == (1, 1)


async def test_wrong_calls_name_the_field_and_change_nothing(make_toy, attach, serve, refused) -> None:
    toy = make_toy(random(20))
    attach(toy, price=list(range(20)))
    nan = random(1)
    nan[0, 3] = np.nan
    price = filter_pb2.AttributeValues(name="price", type="string", texts=["x"])
    other = filter_pb2.AttributeValues(name="color", type="string", texts=["x"])
    two_spaces = update_pb2.UpsertRequest(keys=["a"], vectors=upsert(["a"], random(1)).vectors[:] * 2)
    wrong: list[tuple[str, Any, str]] = [
        ("Upsert", upsert([], np.empty((0, DIM))), "keys"),
        ("Upsert", upsert(["a", "a"], random(2)), "keys"),
        ("Upsert", upsert([""], random(1)), "keys[0]"),
        ("Upsert", upsert(["k" * 5000], random(1)), "keys[0]"),
        ("Upsert", upsert(["a"], random(1)[:, :4]), "vectors[0].vectors.values"),
        ("Upsert", upsert(["a"], random(2)), "vectors[0].vectors.values"),
        ("Upsert", upsert(["a"], nan), "vectors[0].vectors.values"),
        ("Upsert", upsert(["a"], random(1) * 1e20), "vectors[0].vectors.values"),
        ("Upsert", two_spaces, "vectors[1]"),
        ("Upsert", update_pb2.UpsertRequest(keys=["a"]), "images"),
        ("Upsert", update_pb2.UpsertRequest(keys=["a"], images=[b"1", b"2"]), "images"),
        ("Upsert", upsert(["a"], random(1), labels=["x", "y"]), "labels"),
        ("Upsert", upsert(["a"], random(1), attributes=[price]), "attributes[0]"),
        ("Upsert", upsert(["a"], random(1), attributes=[other]), "attributes[0]"),
        ("Delete", update_pb2.DeleteRequest(), "keys"),
        ("Set", update_pb2.SetRequest(keys=[toy.key(5)]), "label"),
        ("Set", update_pb2.SetRequest(keys=[toy.key(5)], attributes=[other]), "attributes[0]"),
    ]
    async with serve(toy, writable=True) as served:
        for method, request, field in wrong:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await getattr(served.update, method)(request)
            found = refused(error.value)
            assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field]), (request, found)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.update.Set(update_pb2.SetRequest(keys=["nobody"], label="x"))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert (info.writable, info.sequence, info.live_rows, info.deleted_rows) == (True, 0, 0, 0)


async def test_more_new_images_than_may_wait_are_rejected(make_toy, serve, refused) -> None:
    toy = make_toy(random(20))
    async with serve(toy, writable=True, limits=Limits(max_live_rows=3)) as served:
        await served.update.Upsert(upsert(["a", "b"], random(2)))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.update.Upsert(upsert(["c", "d"], random(2)))
        found = refused(error.value)
        assert (found.code, "max_live_rows" in found.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        assert found.retry_after > 0
        await served.update.Upsert(upsert(["c"], random(1)))
        assert {"a", "b", "c"} <= set(await listed(served))


async def test_read_only_server_names_the_option(make_toy, serve, refused) -> None:
    toy = make_toy(random(20))
    async with serve(toy) as served:
        for method, request in (
            ("Upsert", upsert(["a"], random(1))),
            ("Delete", delete("a")),
            ("Set", update_pb2.SetRequest(keys=["a"], label="x")),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match="lookalike serve --writable") as error:
                await getattr(served.update, method)(request)
            assert refused(error.value).code is grpc.StatusCode.FAILED_PRECONDITION


async def test_changes_require_the_write_role(make_toy, serve, refused) -> None:
    toy = make_toy(random(20))
    async with serve(toy, writable=True) as served:
        from lookalike.v1 import update_pb2_grpc

        stranger = update_pb2_grpc.UpdateServiceStub(served.channel)
        with pytest.raises(grpc.aio.AioRpcError, match="role write") as error:
            await stranger.Delete(delete(toy.key(5)))
        assert refused(error.value).code is grpc.StatusCode.PERMISSION_DENIED


async def test_changes_survive_a_restart(make_toy, serve) -> None:
    toy = make_toy(random(50), clusters=3)
    async with serve(toy, writable=True) as served:
        await served.update.Upsert(upsert(["a", "b", toy.key(7)], random(3, seed=8), labels=["x", "", "y"]))
        await served.update.Delete(delete("b", toy.key(5)))
        await served.update.Set(update_pb2.SetRequest(keys=["a"], label="z"))
        before = await listed(served)
        images = await served.collection.GetImages(collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=["a"])))
    for writable in (True, False, True):
        async with serve(toy, writable=writable) as served:
            assert await listed(served) == before
            again = await served.collection.GetImages(
                collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=["a"]))
            )
            assert (again.images.ids, again.images.labels) == (images.images.ids, ["z"])
            assert again.served.sequence == 3
            assert await nearest(served, random(3, seed=8)[2], 1) == [toy.key(7)]


async def test_begun_pages_are_read_to_the_end(make_toy, serve) -> None:
    """All pages show the moment at which the first one was read, whatever changes meanwhile."""
    toy = make_toy(random(50), clusters=2)
    async with serve(toy, writable=True) as served:
        await served.update.Upsert(upsert(["a", "b"], random(2)))
        for spread in (collection_pb2.IMAGE_ORDER_ID, collection_pb2.IMAGE_ORDER_SPREAD):
            before = await listed(served, order=spread)
            keys: list[str] = []
            token = ""
            turn = 0
            while True:
                request = collection_pb2.ListImagesRequest(page_size=7, page_token=token, order=spread)
                page = await served.collection.ListImages(request)
                keys += page.images.keys
                token = page.next_page_token
                if not token:
                    break
                turn += 1
                await served.update.Delete(delete(before[turn], before[-turn]))
                await served.update.Upsert(upsert([f"{spread}/{turn}"], random(1)))
            assert keys == before
        assert await listed(served, page_size=9) != before


def restore(*ids: int) -> update_pb2.RestoreRequest:
    return update_pb2.RestoreRequest(ids=wire.encode(np.array(ids, np.int64)))


async def test_deleted_and_replaced_images_can_be_restored_until_a_fold(make_toy, attach, serve, refused) -> None:
    toy = make_toy(random(40), clusters=3, index="IVF4,Flat")
    attach(toy, price=[float(row) for row in range(40)])
    first, second, third = (int(one) for one in toy.ids[:3])
    new = random(2, seed=9)
    async with serve(toy, writable=True) as served:
        before = await listed(served)
        await served.update.Delete(delete(toy.key(first), toy.key(second)))
        done = await served.update.Upsert(upsert([toy.key(third), "n"], new))
        (replacing, added) = wire.decode(done.ids).tolist()
        await served.update.Delete(delete("n"))
        # The key of the third has another image; there is none with the last id.
        back = await served.update.Restore(restore(first, second, third, added, 999_999, first))
        assert (back.restored, back.unknown) == (3, 3)
        assert sorted(await listed(served)) == sorted([*before, "n"])
        assert await nearest(served, toy.vectors[0], 1) == [toy.key(first)]
        assert await nearest(served, new[1], 1) == ["n"]
        assert await listed(served, filter=filter_pb2.Filter(text="price = 1")) == [toy.key(second)]
        # The replaced image can be restored once the other is gone; ids stay unchanged.
        await served.update.Delete(delete(toy.key(third)))
        assert (await served.update.Restore(restore(third))).restored == 1
        found = await served.collection.GetImages(
            collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=[toy.key(third), "n"]))
        )
        assert wire.decode(found.images.ids).tolist() == [third, added]
        assert await nearest(served, toy.vectors[2], 1) == [toy.key(third)]
        await served.update.Upsert(upsert(["n"], random(1, seed=10)))
        told = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert (told.live_rows, told.deleted_rows) == (1, 2)
        # Without ids nothing changes.
        nothing = await served.update.Restore(update_pb2.RestoreRequest())
        assert (nothing.restored, nothing.unknown, nothing.sequence) == (0, 0, told.sequence)
        after = await listed(served)
    async with serve(toy, writable=True) as served:
        assert await listed(served) == after
        await served.update.Delete(delete(toy.key(first)))
        await served.update.Fold(update_pb2.FoldRequest())
        assert (await served.update.Restore(restore(first, replacing))).restored == 0
        with pytest.raises(grpc.aio.AioRpcError, match="int64") as error:
            await served.update.Restore(update_pb2.RestoreRequest(ids=wire.encode(np.ones(2))))
        assert refused(error.value).code is grpc.StatusCode.INVALID_ARGUMENT
    async with serve(toy) as served:
        with pytest.raises(grpc.aio.AioRpcError, match="serve --writable"):
            await served.update.Restore(update_pb2.RestoreRequest())


async def test_many_new_images_are_found_by_graph_and_by_exact_search(make_toy, serve) -> None:
    """A graph finds what a full comparison finds, including deletions and the latest images."""
    toy = make_toy(random(200), index="IVF8,Flat")
    new, count = random(3000, seed=21), 3000
    keys = [f"n{row}" for row in range(count)]
    async with serve(toy, writable=True) as served:
        for start in range(0, count, 250):
            await served.update.Upsert(upsert(keys[start : start + 250], new[start : start + 250]))
        gone = [f"n{row}" for row in range(0, count, 3)]
        for start in range(0, len(gone), 500):
            await served.update.Delete(delete(*gone[start : start + 500]))
        found = 0
        for turn in range(40):
            query = random(1, seed=100 + turn)[0]
            exact = await nearest(served, query, 10, exact=True)
            quick = await nearest(served, query, 10, nprobe=8)
            assert len(set(quick)) == 10
            assert not set(quick) & set(gone)
            found += len(set(exact) & set(quick))
        assert found >= 0.98 * 400
        # The last one immediately, whether or not the graph has it.
        await served.update.Upsert(upsert(["last"], random(1, seed=500)))
        assert await nearest(served, random(1, seed=500)[0], 1, nprobe=8) == ["last"]


def test_graph_of_new_images_finds_what_comparing_finds() -> None:
    rows = Grown.empty(np.float32, DIM)
    graph = LiveGraph(rows, "cosine")
    vectors = prepare(random(4000, seed=3), "cosine")
    # Copies of one image are equally near: the first rows count.
    vectors[3000:3005] = vectors[7]
    rows.append(vectors[:500])
    graph.follow()
    assert graph.count == 0
    rows.append(vectors[500:])
    graph.follow()
    for _ in range(6000):
        if graph.count == 4000:
            break
        time.sleep(0.01)
    assert graph.count == 4000
    nothing = np.full((20, 5), -1, np.int64), np.full((20, 5), np.inf, np.float32)
    queries = np.concatenate([vectors[7:8], prepare(random(19, seed=4), "cosine")])
    alive = np.ones(4100, np.bool_)
    alive[100 + np.arange(0, 4000, 4)] = False
    for allowed in (None, [alive] * 20):
        for there in (4000, 3990):
            compared = UnindexedVectors(rows.values[:there], 100, "cosine", prepared=True)
            quick = UnindexedVectors(rows.values[:there], 100, "cosine", prepared=True, near=graph)
            exact, found = (one.merged(queries, *nothing, allowed) for one in (compared, quick))
            assert np.mean(exact[0] == found[0]) > 0.98
            same = exact[0] == found[0]
            assert np.array_equal(exact[1][same], found[1][same])
            assert found[0].max() < 100 + there
    assert found[0][0].tolist() == exact[0][0].tolist()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_new_images_added_class_by_class_are_found(metric: Metric) -> None:
    """The first images do not predict the directions in which later ones differ."""
    chance = np.random.default_rng(5)
    dim, classes, each = 640, 8, 300
    directions = chance.standard_normal((classes, 12, dim)).astype(np.float32)
    centers = 3 * chance.standard_normal((classes, dim)).astype(np.float32)

    def of_class(number: int, count: int) -> np.ndarray:
        parts = chance.standard_normal((count, 12)).astype(np.float32)
        return prepare(centers[number] + parts @ directions[number], metric)

    rows = Grown.empty(np.float32, dim)
    graph = LiveGraph(rows, metric)
    for number in range(classes):
        rows.append(of_class(number, each))
        graph.follow()
    for _ in range(6000):
        if graph.count == len(rows):
            break
        time.sleep(0.01)
    assert graph.count == len(rows)
    queries = of_class(classes - 1, 20)
    assert graph.candidates(queries, 10, len(rows), deep=False) is not None
    nothing = np.full((20, 10), -1, np.int64), np.full((20, 10), np.inf, np.float32)
    exact = UnindexedVectors(rows.values, 0, metric, prepared=True).merged(queries, *nothing)
    found = UnindexedVectors(rows.values, 0, metric, prepared=True, near=graph).merged(queries, *nothing)
    same = exact[0] == found[0]
    assert same.mean() >= 0.97
    assert np.array_equal(exact[1][same], found[1][same])


def test_projection_outlives_its_index(tmp_path) -> None:
    index = two_stage.empty(two_stage.TwoStage(8, "Flat", "SQ8"), 64)
    vectors = prepare(np.random.default_rng(4).standard_normal((300, 64)).astype(np.float32), "cosine")
    two_stage.train(index, vectors)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    loaded = faiss.read_index(str(tmp_path / "index.faiss"))
    projection = two_stage.Projection(faiss.downcast_index(loaded))
    expected = two_stage.project(index, vectors)
    del loaded
    gc.collect()
    assert (projection.linear.d_in, projection.linear.d_out) == (64, 8)
    assert np.array_equal(projection(vectors), expected)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("useful", [True, False])
def test_new_images_are_found_by_the_projection_of_the_index(metric: Metric, useful: bool) -> None:
    """A projection in which new images are all alike is replaced by components of the images."""
    chance = np.random.default_rng(8)
    dim, rank = 640, 24
    directions = np.linalg.qr(chance.standard_normal((dim, 2 * rank)))[0].T.astype(np.float32)

    def images(count: int) -> np.ndarray:
        centers = 2 * chance.standard_normal((count, 1)).astype(np.float32) * directions[:1]
        return prepare(centers + chance.standard_normal((count, rank)).astype(np.float32) @ directions[:rank], metric)

    sample = images(1000)
    if not useful:
        sample = prepare(chance.standard_normal((1000, rank)).astype(np.float32) @ directions[rank:], metric)
    index = two_stage.empty(two_stage.TwoStage(rank, "HNSW16,SQ8", "SQ8"), dim)
    two_stage.train(index, sample)
    rows = Grown.empty(np.float32, dim)
    graph = LiveGraph(rows, metric, two_stage.Projection(index))
    rows.append(images(3000))
    graph.follow()
    for _ in range(6000):
        if graph.count == 3000:
            break
        time.sleep(0.01)
    queries = images(20)
    nothing = np.full((20, 10), -1, np.int64), np.full((20, 10), np.inf, np.float32)
    compared = UnindexedVectors(rows.values, 50, metric, prepared=True)
    quick = UnindexedVectors(rows.values, 50, metric, prepared=True, near=graph)
    exact, found = compared.merged(queries, *nothing), quick.merged(queries, *nothing)
    assert np.mean([np.isin(one, other).mean() for one, other in zip(exact[0], found[0], strict=True)]) >= 0.97
    # With hits of an index that are nearer than all but two of them.
    hits = np.tile(np.arange(10), (20, 1)), np.full((20, 10), 0, np.float32)
    hits[1][:, 2:] = exact[1][:, 1:2] + np.float32(1e-3)
    wanted = compared.merged(queries, *hits)[0]
    for thorough, recall in ((False, 0.95), (True, 0.98)):
        merged = quick.merged(queries, *hits, thorough=thorough)[0]
        assert np.mean([np.isin(one, other).mean() for one, other in zip(wanted, merged, strict=True)]) >= recall
    one = quick.merged(queries[:1], hits[0][:1], hits[1][:1])
    assert np.array_equal(one[0], quick.merged(queries, *hits)[0][:1])
    assert graph.candidates(queries, 10, 3000, deep=True) is not None


def test_vectors_without_structure_are_compared_rather_than_missed() -> None:
    vectors = prepare(np.random.default_rng(1).standard_normal((2100, 256)).astype(np.float32), "cosine")
    rows = Grown.empty(np.float32, 256)
    graph = LiveGraph(rows, "cosine")
    rows.append(vectors[:2080])
    graph.follow()
    for _ in range(6000):
        if graph.count == 2080:
            break
        time.sleep(0.01)
    compared = UnindexedVectors(rows.values, 0, "cosine", prepared=True)
    quick = UnindexedVectors(rows.values, 0, "cosine", prepared=True, near=graph)
    nothing = np.full((20, 10), -1, np.int64), np.full((20, 10), np.inf, np.float32)
    exact, found = (one.merged(vectors[2080:], *nothing)[0] for one in (compared, quick))
    assert np.mean([np.isin(one, other).mean() for one, other in zip(exact, found, strict=True)]) >= 0.97
