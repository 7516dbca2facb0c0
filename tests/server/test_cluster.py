from __future__ import annotations

import grpc
import numpy as np
import pytest

from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, types_pb2
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import STRATEGIES, Strategy
from lookalike_indexer.progress import Silent
from lookalike_server.common.limits import Limits


def truth(toy, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return clusters, cosine distances and margins by brute force; all centroids have length one."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - unit @ (toy.centroids / np.linalg.norm(toy.centroids, axis=1, keepdims=True)).T.astype(np.float64)
    ranked = np.sort(distances, axis=1)
    return distances.argmin(axis=1), ranked[:, 0], ranked[:, 1] - ranked[:, 0]


def ids(*values: int) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=values))


async def membership(served, query: types_pb2.QueryBatch, **more: object) -> cluster_pb2.GetMembershipResponse:
    return await served.cluster.GetMembership(cluster_pb2.GetMembershipRequest(query=query, **more))


class TestMembership:
    async def test_stored_image_has_its_stored_assignment(self, make_toy, serve) -> None:
        toy = make_toy(clusters=7)
        rows = [100, 3, 499]
        clusters, distances, margins = truth(toy, toy.vectors)
        async with serve(toy) as served:
            by_id = await membership(served, ids(*toy.ids[rows]), members=3)
            keys = types_pb2.QueryBatch(keys=types_pb2.Keys(values=[toy.key(one) for one in toy.ids[rows]]))
            by_key = await membership(served, keys, members=3)
        [found] = by_id.memberships
        assert found == by_key.memberships[0]
        assert (found.clustering, found.metric) == ("tiny/k7", collection_pb2.METRIC_COSINE)
        np.testing.assert_array_equal(wire.decode(found.clusters), clusters[rows])
        np.testing.assert_allclose(wire.decode(found.distances), distances[rows], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(wire.decode(found.margins), margins[rows], atol=1e-6)
        np.testing.assert_array_equal(wire.decode(found.sizes), np.bincount(clusters)[clusters[rows]])
        for row, nearest in zip(rows, found.nearest, strict=True):
            members = np.flatnonzero(clusters == clusters[row])
            expected = toy.ids[members[np.argsort(distances[members])]][:3]
            np.testing.assert_array_equal(wire.decode(nearest.ids), expected)
            assert list(nearest.keys) == [toy.key(one) for one in expected]
        assert (by_id.served.generation, by_id.served.space) == (1, "")

    async def test_new_image_is_assigned_here(self, make_toy, serve, by_vector, make_embedder) -> None:
        toy = make_toy(clusters=7)
        new = np.random.default_rng(4).standard_normal((20, 16)).astype(np.float32)
        clusters, distances, margins = truth(toy, new)
        async with serve(toy, open_embedder=lambda reader, space: make_embedder(toy)) as served:
            [found] = (await membership(served, by_vector(new))).memberships
            pictures = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"33", b"44"]))
            [picture] = (await membership(served, pictures)).memberships
        np.testing.assert_array_equal(wire.decode(found.clusters), clusters)
        np.testing.assert_allclose(wire.decode(found.distances), distances, rtol=1e-5)
        assert found.metric == collection_pb2.METRIC_COSINE
        np.testing.assert_allclose(wire.decode(found.margins), margins, atol=1e-5)
        assert [len(one.keys) for one in found.nearest] == [0] * 20
        np.testing.assert_array_equal(wire.decode(picture.clusters), truth(toy, toy.vectors[[33, 44]])[0])

    async def test_clustering_named_twice_is_answered_once(self, make_toy, serve, by_vector) -> None:
        toy = make_toy(clusters=7)
        async with serve(toy) as served:
            for query in (ids(5), by_vector(toy.vectors[:1])):
                reply = await membership(served, query, clusterings=["tiny/k7"] * 1000)
                assert [one.clustering for one in reply.memberships] == ["tiny/k7"]

    @pytest.mark.parametrize("strategy", STRATEGIES)
    async def test_images_are_assigned_by_the_rule_of_the_strategy(
        self, make_toy, serve, by_vector, make_embedder, strategy: Strategy
    ) -> None:
        toy = make_toy(np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32))
        settings = ClusterSettings(clusters=6, strategy=strategy, name="made", restarts=2)
        draft, _ = run_cluster(toy.storage, generations.require_latest(toy.storage), settings, Silent())
        generations.publish(toy.storage, draft)
        rows = np.arange(0, 200, 7)
        async with serve(toy, open_embedder=lambda reader, space: make_embedder(toy)) as served:
            [stored] = (await membership(served, ids(*toy.ids[rows]))).memberships
            [vectors] = (await membership(served, by_vector(toy.vectors[rows]))).memberships
            files = types_pb2.QueryBatch(images=types_pb2.Images(data=[str(row).encode() for row in rows]))
            [pictures] = (await membership(served, files, members=2)).memberships
            described = await served.collection.GetCollection(collection_pb2.GetCollectionRequest())
        for found in (vectors, pictures):
            assert (found.clusters, found.distances, found.margins) == (
                stored.clusters,
                stored.distances,
                stored.margins,
            )
        assert len(np.unique(wire.decode(stored.clusters))) > 1
        [clustering] = described.clusterings
        assert (clustering.name, clustering.strategy) == ("tiny/made", strategy)
        assert clustering.spherical == (strategy == "spherical")

    async def test_image_without_assignment_is_in_cluster_minus_one(self, make_toy, serve) -> None:
        toy = make_toy(clusters=7)
        async with serve(toy) as served:
            [found] = (await membership(served, ids(5, int(toy.ids[-1]) + 2), members=4)).memberships
        clusters = wire.decode(found.clusters)
        assert clusters[0] >= 0
        assert clusters[1] == -1
        assert np.isnan(wire.decode(found.distances)).tolist() == [False, True]
        assert np.isnan(wire.decode(found.margins)).tolist() == [False, True]
        assert wire.decode(found.sizes)[1] == 0
        assert [len(one.keys) for one in found.nearest] == [4, 0]

    async def test_wrong_calls(self, make_toy, serve, by_vector, refused) -> None:
        bare = make_toy(name="bare")
        toy = make_toy(clusters=7)
        vector = by_vector(np.ones((1, 16), np.float32))
        wrong = by_vector(np.ones((1, 16), np.float32), "f" * 64)
        code = grpc.StatusCode
        async with serve(bare) as unclustered, serve(toy) as served:
            for server, query, more, expected in (
                (unclustered, ids(5), {}, code.FAILED_PRECONDITION),
                (unclustered, vector, {}, code.FAILED_PRECONDITION),
                (served, ids(6), {}, code.NOT_FOUND),
                (served, ids(5), {"clusterings": ["tiny/k8"]}, code.NOT_FOUND),
                (served, vector, {"space": "other"}, code.NOT_FOUND),
                (served, vector, {"members": 101}, code.INVALID_ARGUMENT),
                (served, vector, {"members": -1}, code.INVALID_ARGUMENT),
                (served, by_vector(np.ones((1, 3), np.float32)), {}, code.INVALID_ARGUMENT),
                (served, types_pb2.QueryBatch(), {}, code.INVALID_ARGUMENT),
                (served, wrong, {}, code.FAILED_PRECONDITION),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await membership(server, query, **more)
                assert refused(caught.value).code == expected, (more, caught.value.details())


class TestMembers:
    async def test_pages_hold_every_member_once_nearest_first(self, make_toy, serve) -> None:
        toy = make_toy(clusters=3)
        clusters, distances, _ = truth(toy, toy.vectors)
        async with serve(toy) as served:
            for cluster in range(3):
                token, found, reached = "", [], []
                while True:
                    request = cluster_pb2.ListMembersRequest(
                        clustering="tiny/k3", cluster=cluster, page_size=13, page_token=token
                    )
                    page = await served.cluster.ListMembers(request)
                    found += wire.decode(page.members.ids).tolist()
                    reached += wire.decode(page.members.distances).tolist()
                    assert page.metric == collection_pb2.METRIC_COSINE
                    assert page.total == np.count_nonzero(clusters == cluster)
                    token = page.next_page_token
                    if not token:
                        break
                    assert len(page.members.keys) == 13
                assert sorted(found) == toy.ids[clusters == cluster].tolist()
                assert reached == sorted(reached)
                np.testing.assert_allclose(reached, np.sort(distances[clusters == cluster]), rtol=1e-6, atol=1e-6)

    async def test_stale_token_is_a_failed_precondition(self, make_toy, serve, refused) -> None:
        toy = make_toy(clusters=3)
        async with serve(toy) as served:
            first = cluster_pb2.ListMembersRequest(clustering="tiny/k3", cluster=1, page_size=5)
            token = (await served.cluster.ListMembers(first)).next_page_token
            make_toy(toy.vectors[:400], clusters=3)
            await served.app.first.reloader.follow()
            again = cluster_pb2.ListMembersRequest(clustering="tiny/k3", cluster=1, page_size=5, page_token=token)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.cluster.ListMembers(again)
        assert refused(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION
        assert "start again" in refused(caught.value).message

    async def test_wrong_calls(self, make_toy, serve, refused) -> None:
        code = grpc.StatusCode
        async with serve(make_toy(clusters=3), limits=Limits(max_page_size=10)) as served:
            for request, expected in (
                ({"clustering": "tiny/k3", "cluster": 3}, code.INVALID_ARGUMENT),
                ({"clustering": "tiny/k3", "cluster": -1}, code.INVALID_ARGUMENT),
                ({"clustering": "tiny/k3", "page_size": 11}, code.INVALID_ARGUMENT),
                ({"clustering": "tiny/k3", "page_token": "nonsense"}, code.INVALID_ARGUMENT),
                ({"clustering": "k4"}, code.NOT_FOUND),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.cluster.ListMembers(cluster_pb2.ListMembersRequest(**request))
                assert refused(caught.value).code == expected


async def test_clusters_have_sizes_and_mean_distances(make_toy, serve) -> None:
    vectors = np.random.default_rng(0).standard_normal((100, 16)).astype(np.float32)
    vectors[4] = vectors[2]  # centroid 4 equals centroid 2, so that cluster 4 is empty
    toy = make_toy(vectors, clusters=5)
    clusters, distances, _ = truth(toy, toy.vectors)
    async with serve(toy) as served:
        reply = await served.cluster.ListClusters(cluster_pb2.ListClustersRequest(clustering="tiny/k5"))
        short = await served.cluster.ListClusters(cluster_pb2.ListClustersRequest(clustering="k5"))
    assert short.sizes == reply.sizes
    assert reply.metric == collection_pb2.METRIC_COSINE
    np.testing.assert_array_equal(wire.decode(reply.sizes), np.bincount(clusters, minlength=5))
    means = wire.decode(reply.mean_distances)
    assert np.isnan(means[4])
    for cluster in range(4):
        assert means[cluster] == pytest.approx(distances[clusters == cluster].mean(), rel=1e-5)
    assert reply.served.space == "tiny"
