"""A server finds and shows no deleted image, and every search still has its full number of neighbors."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, filter_pb2, search_pb2, types_pb2
from lookalike_indexer.collection.deletion import delete


def ids_of(reply):
    return wire.decode(reply.neighbors.ids).tolist()


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW16", "SQ8", "PCA8,Flat,Refine(SQ8)"])
async def test_searches_find_the_others(make_toy, serve, by_vector, factory):
    toy = make_toy(index=factory)
    queries = toy.vectors[:4]
    nearest, _ = toy.brute_force(queries, 3)
    gone = sorted({int(number) for number in nearest.ravel()})
    delete(toy.storage, ids=gone)
    async with serve(toy) as served:
        for effort in ({}, {"exact": True}):
            reply = await served.neighbors(by_vector(queries), 20, **effort)
            assert not set(ids_of(reply)) & set(gone)
            assert list(reply.neighbors.counts) == [20] * 4
        # Approximate kinds miss some; an exact search none.
        wanted, _ = toy.brute_force(queries, len(toy.ids))
        kept = [[number for number in row.tolist() if number not in gone][:20] for row in wanted]
        assert ids_of(reply) == [number for row in kept for number in row]


async def test_k_is_capped_at_the_remaining_images(make_toy, serve, by_vector):
    toy = make_toy(index="IVF8,Flat")
    delete(toy.storage, ids=toy.ids[5:].tolist())
    async with serve(toy) as served:
        reply = await served.neighbors(by_vector(toy.vectors[:1]), 50, explain=True)
        assert sorted(ids_of(reply)) == toy.ids[:5].tolist()
        assert (reply.served.plan.rows, reply.served.plan.matches) == (5, 5)


async def test_filters_have_only_the_others(make_toy, serve, by_vector):
    toy = make_toy(index="IVF8,Flat", clusters=3)
    gone = toy.ids[::2].tolist()
    delete(toy.storage, ids=gone)
    async with serve(toy) as served:
        everything = filter_pb2.Filter(text="width > 0")
        reply = await served.neighbors(by_vector(toy.vectors[:1]), 1000, filter=everything)
        assert sorted(ids_of(reply)) == toy.ids[1::2].tolist()
        listed = await served.collection.ListImages(collection_pb2.ListImagesRequest(filter=everything, page_size=1000))
        assert wire.decode(listed.images.ids).tolist()[:-1] == toy.ids[1::2].tolist()


async def test_nothing_else_shows_them(make_toy, serve, attach):
    toy = make_toy(index="Flat", clusters=3)
    attach(toy, price=list(range(500)))
    gone = [5, 9, 11]
    delete(toy.storage, ids=gone)
    async with serve(toy) as served:
        about = await served.collection.GetCollection(collection_pb2.GetCollectionRequest())
        assert (about.images, about.deleted, about.spaces[0].images) == (498, 3, 497)
        assert about.clusterings[0].images == 497
        listed = await served.collection.ListImages(collection_pb2.ListImagesRequest(page_size=1000, fields=["price"]))
        assert not set(wire.decode(listed.images.ids).tolist()) & set(gone)
        assert wire.decode(listed.images.attributes[0].numbers)[:3].tolist() == [1, 4, 5]
        clusters = await served.cluster.ListClusters(cluster_pb2.ListClustersRequest(clustering="k3"))
        assert wire.decode(clusters.sizes).sum() == 497
        for cluster in range(3):
            members = await served.cluster.ListMembers(
                cluster_pb2.ListMembersRequest(clustering="k3", cluster=cluster, page_size=1000)
            )
            assert not set(wire.decode(members.members.ids).tolist()) & set(gone)
        labels = await served.collection.ListLabels(collection_pb2.ListLabelsRequest())
        assert wire.decode(labels.counts).sum() == 332


@pytest.mark.parametrize("which", ["keys", "ids"])
async def test_deleted_images_cannot_be_requested(make_toy, serve, by_vector, which):
    toy = make_toy(index="Flat", clusters=3)
    delete(toy.storage, ids=[9])
    named = {"keys": types_pb2.Keys(values=[toy.key(9)]), "ids": types_pb2.Ids(values=[9])}[which]
    query = types_pb2.QueryBatch(**{which: named})
    async with serve(toy) as served:
        calls = [
            served.search.Search(search_pb2.SearchRequest(query=query, k=5)),
            served.search.GetVectors(search_pb2.GetVectorsRequest(query=query)),
            served.cluster.GetMembership(cluster_pb2.GetMembershipRequest(clusterings=["k3"], query=query)),
            served.collection.GetImages(collection_pb2.GetImagesRequest(**{which: named})),
            served.collection.GetThumbnails(collection_pb2.GetThumbnailsRequest(ids=[9])),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_generation_with_them_is_swapped_in(make_toy, serve, by_vector):
    toy = make_toy(index="IVF8,Flat")
    async with serve(toy) as served:
        before = await served.neighbors(by_vector(toy.vectors[:1]), 3)
        assert ids_of(before)[0] == 5
        delete(toy.storage, ids=[5])
        from lookalike.v1 import server_pb2

        await served.server.Reload(server_pb2.ReloadRequest())
        after = await served.neighbors(by_vector(toy.vectors[:1]), 3)
        assert ids_of(after)[:2] == ids_of(before)[1:]
        stored = await served.search.GetVectors(
            search_pb2.GetVectorsRequest(query=types_pb2.QueryBatch(ids=types_pb2.Ids(values=[7, 1001])))
        )
        np.testing.assert_array_equal(wire.decode(stored.vectors), toy.vectors[[1, 498]])
