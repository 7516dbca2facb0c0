"""Serving a space with more images than its index or clustering, and choosing among indexes."""

from __future__ import annotations

import dataclasses
import json
import logging

import grpc
import numpy as np
import pytest
from click.testing import CliRunner

import lookalike
from lookalike import wire
from lookalike.cli.clusters import clusters
from lookalike.cli.info import info
from lookalike.cli.search import search
from lookalike.v1 import cluster_pb2, collection_pb2, types_pb2
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify
from lookalike_server.columns import rows

SPACE_ROWS, INDEXED = 500, 400


def embedded_since(toy, *indexes, clusters=0):
    """Publish indexes and a clustering of the first 400 of a toy's 500 images, as after `lookalike embed`."""
    draft = generations.require_latest(toy.storage)
    space = draft.spaces["tiny"]
    first = dataclasses.replace(space, rows=INDEXED, parts=space.parts[:2])
    built = dataclasses.replace(draft, spaces={"tiny": first})
    for settings in indexes:
        built, _ = run_build(toy.storage, built, settings, Silent())
    if clusters:
        built, _ = run_cluster(toy.storage, built, ClusterSettings(clusters=clusters), Silent())
    generations.publish(toy.storage, dataclasses.replace(built, spaces=draft.spaces))
    return toy


def found(reply, k):
    return wire.decode(reply.neighbors.ids).reshape(-1, k), wire.decode(reply.neighbors.distances).reshape(-1, k)


def ids(*values: int) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=values))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("placement", ["cpu", "shard"])
async def test_images_missing_from_the_index_are_found(make_toy, serve, by_vector, metric, placement, caplog) -> None:
    from lookalike_server.placement.devices import Cpu

    toy = embedded_since(make_toy(index=None, metric=metric), BuildSettings(index="flat", metric=metric))
    devices = [Cpu(), Cpu()] if placement == "shard" else None
    with caplog.at_level(logging.INFO):
        async with serve(toy, placement=placement, devices=devices) as served:
            asked = toy.vectors[[3, 399, 400, 450, 499]]
            reply = await served.neighbors(by_vector(asked), 7)
            expected = toy.brute_force(asked, 7)
            assert np.array_equal(found(reply, 7)[0], expected[0])
            np.testing.assert_allclose(found(reply, 7)[1], expected[1], atol=2e-3)
            assert not reply.served.notes
            described = await served.collection.GetCollection(collection_pb2.GetCollectionRequest())
    index = described.spaces[0].index
    assert (index.images, index.missing, described.spaces[0].images) == (400, 100, 500)
    [told] = [record for record in caplog.records if "an exact search covers the other 100 images" in record.message]
    assert "The index tiny/main covers 400 of 500 images; update it with: lookalike build " in told.message
    # A writable server leaves as many out after a fold, so this is no warning.
    assert told.levelno == logging.INFO


async def test_image_missing_from_the_index_can_be_the_query(make_toy, serve) -> None:
    toy = embedded_since(make_toy(index=None), BuildSettings(index="flat"))
    async with serve(toy) as served:
        reply = await served.neighbors(ids(int(toy.ids[450])), 5)
        nearest, _ = toy.brute_force(toy.vectors[450:451], 6)
        assert found(reply, 5)[0].tolist() == [nearest[0, 1:].tolist()]


async def test_compressed_index_and_its_exact_searches_find_them(make_toy, serve, by_vector) -> None:
    toy = embedded_since(make_toy(index=None), BuildSettings(index="ivf-sq8", nlist=4))
    async with serve(toy) as served:
        asked = toy.vectors[400:420]
        reply = await served.neighbors(by_vector(asked), 1, nprobe=4)
        assert found(reply, 1)[0].ravel().tolist() == toy.ids[400:420].tolist()
        exact = await served.neighbors(by_vector(asked), 9, exact=True)
        assert np.array_equal(found(exact, 9)[0], toy.brute_force(asked, 9)[0])


async def test_too_many_unindexed_images_are_reported_and_found_exactly(
    make_toy, serve, by_vector, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(rows, "MOST_BESIDE", 99)
    monkeypatch.setattr("lookalike_server.generation.loader.MOST_BESIDE", 99)
    toy = embedded_since(make_toy(index=None), BuildSettings(index="flat"))
    async with serve(toy) as served:
        [told] = [record for record in caplog.records if "only exact searches find the other" in record.message]
        assert told.levelno == logging.WARNING
        asked = toy.vectors[[450]]
        reply = await served.neighbors(by_vector(asked), 3)
        assert found(reply, 3)[0].max() <= toy.ids[399]
        assert reply.served.expected_recall == 0
        [note] = reply.served.notes
        assert "covers 400 of 500 images" in note
        assert "only exact searches find the other 100 images" in note
        exact = await served.neighbors(by_vector(asked), 3, exact=True)
        assert np.array_equal(found(exact, 3)[0], toy.brute_force(asked, 3)[0])


async def test_partial_clustering_is_noted_in_every_reply(make_toy, serve) -> None:
    toy = embedded_since(make_toy(), clusters=3)
    async with serve(toy) as served:
        home = await served.cluster.GetMembership(cluster_pb2.GetMembershipRequest(query=ids(int(toy.ids[0]))))
        listed = await served.cluster.ListClusters(cluster_pb2.ListClustersRequest(clustering="tiny/k3"))
        members = await served.cluster.ListMembers(cluster_pb2.ListMembersRequest(clustering="tiny/k3"))
        for reply in (home, listed, members):
            [note] = reply.served.notes
            assert note.startswith(
                "The clustering tiny/k3 covers 400 of 500 images; update it with: lookalike cluster "
            )
        described = await served.collection.GetCollection(collection_pb2.GetCollectionRequest())
        assert described.clusterings[0].missing == 100
        assert described.spaces[0].default_clustering == "tiny/k3"


async def test_server_names_its_index(make_toy, serve, by_vector) -> None:
    toy = make_toy(index=None)
    draft = generations.require_latest(toy.storage)
    for settings in (BuildSettings(name="fast", index="ivf-flat", nlist=4), BuildSettings(index="flat")):
        draft, _ = run_build(toy.storage, draft, settings, Silent())
    generations.publish(toy.storage, draft)
    for wanted, name, factory in [
        ((), "main", "Flat"),
        (("fast",), "fast", "IVF4,Flat"),
        (("tiny/fast",), "fast", "IVF4,Flat"),
    ]:
        async with serve(toy, indexes=wanted) as served:
            reply = await served.neighbors(by_vector(toy.vectors[:2]), 3)
            assert reply.served.index == name
            described = await served.collection.GetCollection(collection_pb2.GetCollectionRequest())
            assert (described.spaces[0].index.name, described.spaces[0].index.factory) == (name, factory)
            assert [index.name for index in described.spaces[0].indexes] == ["fast", "main"]
            async with lookalike.aio.Client(served.app.address) as client:
                space = (await client.info()).spaces[0]
                assert space.index.name == (await client.search(id=int(toy.ids[0]))).served.index == name
                assert [index.name for index in space.indexes] == ["fast", "main"]
    with pytest.raises(
        NotFoundError, match="--index slow: the collection has no index of that name; it has: tiny/fast"
    ):
        async with serve(toy, indexes=("slow",)):
            pass


async def test_commands_tell_of_what_is_missing(make_toy, serve) -> None:
    import asyncio

    toy = embedded_since(make_toy(index=None), BuildSettings(index="flat"), clusters=3)
    key = toy.key(int(toy.ids[1]))
    async with serve(toy) as served:

        def run(command, *arguments):
            result = CliRunner().invoke(command, [*arguments, "--server", served.app.address])
            assert result.exit_code == 0, result.output
            return result.output

        told = await asyncio.to_thread(run, info)
        assert "main, cosine, lacks 100 of 500 images; lookalike build adds them" in told
        assert "400 of 500" in told
        homes = await asyncio.to_thread(run, clusters, key, "--key")
        assert "The clustering tiny/k3 covers 400 of 500 images" in homes
        asked = json.loads(await asyncio.to_thread(run, search, key, "--key", "--json"))
        assert asked["served"]["index"] == "main"
    folder = CliRunner().invoke(info, [str(toy.root)])
    assert "main, cosine, lacks 100 of 500 images" in folder.output
    assert "tiny/k3 (default)" in folder.output


def test_index_of_fewer_images_is_no_damage(make_toy) -> None:
    toy = embedded_since(make_toy(index=None), BuildSettings(index="flat"), clusters=3)
    report = run_verify(toy.storage, VerifySettings(deep=True), Silent())
    assert not [one for one in report.damages if one.path.startswith(("indexes", "clusterings", "generations"))]
    assert next(check.looked for check in report.checks if check.name == "indexes") == 1


async def test_audits_count_what_was_searched_beside(make_toy, serve, by_vector) -> None:
    from lookalike_server.common.observe_settings import ObserveSettings

    toy = embedded_since(make_toy(index=None), BuildSettings(index="ivf-flat", nlist=4))
    observe = ObserveSettings(metrics_port=0, audit_share=1.0)
    async with serve(toy, observe=observe) as served:
        for row in (410, 450):
            await served.neighbors(by_vector(toy.vectors[[row]]), 5, nprobe=4)
        import asyncio

        audit = served.app.first.audit
        assert await asyncio.to_thread(audit.wait_until_done, 60)
        [result] = audit.results()
        assert (result.queries, result.recall) == (2, 1.0)


async def test_grown_collection_is_served_again_after_a_restart(make_toy, serve, by_vector) -> None:
    """Regression: `embed` published what a starting server rejected, so that every restart was an outage."""
    toy = embedded_since(make_toy(index=None), BuildSettings(index="flat"))
    for _ in range(2):
        async with serve(toy) as served:
            try:
                await served.neighbors(by_vector(toy.vectors[[450]]), 1)
            except grpc.aio.AioRpcError as error:
                pytest.fail(str(error.details()))
