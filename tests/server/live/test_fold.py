"""Changes become a generation while the server answers."""

from __future__ import annotations

import asyncio
import random as chances

import grpc
import numpy as np
import pytest
from tests.server.live.model import compare, run
from tests.server.live.test_model import model_of
from tests.server.live.test_update import by_keys, delete, listed, nearest, random, upsert

from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, filter_pb2, search_pb2, server_pb2, types_pb2, update_pb2
from lookalike_indexer.collection import changelog, generations
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.progress import Silent
from lookalike_indexer.upkeep import fold as fold_module
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify
from lookalike_server.common.limits import Limits

FOLD = update_pb2.FoldRequest()


async def all_of(served, keys):
    """Return everything known of some images, and their clusters."""
    fields = ["label", "price", "format"]
    page = await served.collection.GetImages(
        collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=keys), fields=fields)
    )
    vectors = await served.search.GetVectors(search_pb2.GetVectorsRequest(query=by_keys(*keys)))
    memberships = await served.cluster.GetMembership(
        cluster_pb2.GetMembershipRequest(query=by_keys(*keys), members=100)
    )
    images = page.images
    # The server's report differs.
    return (
        wire.decode(images.ids).tolist(),
        list(images.keys),
        list(images.labels),
        [one.SerializeToString() for one in images.attributes],
        wire.decode(vectors.vectors).tolist(),
        [one.SerializeToString() for one in memberships.memberships],
    )


@pytest.mark.parametrize("index", ["Flat", "IVF16,Flat", "HNSW8", "IVF16,SQ8"])
@pytest.mark.parametrize("grown", [False, True])
async def test_fold_does_not_change_answers(make_toy, attach, serve, index, grown, monkeypatch) -> None:
    """`grown`: the index takes the new images, which otherwise are compared beside it."""
    monkeypatch.setattr(fold_module, "MOST_BESIDE", 0 if grown else 1000)
    toy = make_toy(random(300), index=index, clusters=3)
    attach(toy, price=list(range(300)))
    price = filter_pb2.AttributeValues(name="price", type="int64", numbers=wire.encode(np.array([7000, -1, 3])))
    async with serve(toy, writable=True) as served:
        keys = ["a", "b", toy.key(9)]
        await served.update.Upsert(upsert(keys, random(3, seed=5), labels=["x", "", "y"], attributes=[price]))
        await served.update.Upsert(upsert(["dead"], random(1, seed=6)))
        await served.update.Delete(delete("dead", toy.key(5), toy.key(7)))
        one = filter_pb2.AttributeValues(name="price", type="int64", numbers=wire.encode(np.array([-5])))
        await served.update.Set(update_pb2.SetRequest(keys=["b", toy.key(11)], label="set", attributes=[one]))
        some = [*keys, toy.key(11), toy.key(13)]
        before = await listed(served), await all_of(served, some)
        filtered = await listed(served, filter=filter_pb2.Filter(text="price < 0"))
        done = await served.update.Fold(FOLD)
        assert (done.generation, done.sequence) == (3, 4)
        assert (await listed(served), await all_of(served, some)) == before
        assert await listed(served, filter=filter_pb2.Filter(text="price < 0")) == filtered == [toy.key(11), "b"]
        assert await nearest(served, random(3, seed=5)[2], 1) == [toy.key(9)]
        assert len(await nearest(served, random(1)[0], 400)) == 300
        info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert (info.generation, info.sequence, info.live_rows, info.deleted_rows) == (3, 4, 0, 0)
        assert info.last_fold_us > 0
        # Without a change there is nothing to fold.
        assert (await served.update.Fold(FOLD)).generation == 3
        # And again.
        done = await served.update.Upsert(upsert(["c", "a"], random(2, seed=9)))
        assert wire.decode(done.ids).tolist() == [before[1][0][2] + 2, before[1][0][2] + 3]
        await served.update.Delete(delete(toy.key(13)))
        after = await listed(served)
        assert (await served.update.Fold(FOLD)).generation == 4
        assert await listed(served) == after
        assert await nearest(served, random(2, seed=9)[1], 1) == ["a"]
    async with serve(toy) as served:
        assert await listed(served) == after
    reader = CollectionReader.open(str(toy.root))
    assert sorted(reader.images(["key"]).column("key").to_pylist()) == sorted(after)
    entry = reader.manifest.indexes["tiny/main"]
    assert entry.rows == (303 + 2 if grown else 300)
    assert [one.rows for one in entry.increments] == ([3, 2] if grown else [])
    first = generations.read(toy.storage, 1).indexes["tiny/main"]
    assert (entry.path, entry.recall) == (first.path, first.recall)


async def test_changes_continue_during_folds_and_no_call_fails(make_toy, serve) -> None:
    toy = make_toy(random(120), index="IVF16,Flat", clusters=3)
    model = model_of(toy, seed=3)
    async with serve(toy, writable=True) as served:
        await served.update.Delete(delete(toy.key(int(toy.ids[-1]) + 2)))
        ended = asyncio.Event()

        async def fold() -> int:
            folds = 0
            while not ended.is_set():
                await served.update.Fold(FOLD)
                folds += 1
                await asyncio.sleep(0.02)
            return folds

        folding = asyncio.create_task(fold())
        try:
            await run(served, model, 60)
        finally:
            ended.set()
        assert await folding >= 3
        await served.update.Fold(FOLD)
        assert sorted(await listed(served)) == sorted(model.vectors)
    async with serve(toy) as served:
        for turn in range(4):
            await compare(served, model, turn, random(1, seed=turn)[0])


async def test_many_changes_are_folded_automatically(make_toy, serve) -> None:
    toy = make_toy(random(30))
    limits = Limits(fold_rows=5)
    async with serve(toy, writable=True, limits=limits) as served:
        await served.update.Upsert(upsert([f"k{number}" for number in range(6)], random(6)))
        async with asyncio.timeout(60):
            while generations.require_latest(toy.storage).generation == 1:
                await asyncio.sleep(0.05)
            while (await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())).live_rows:
                await asyncio.sleep(0.05)
        assert len(await listed(served)) == 37


async def test_fold_waits_for_no_other_writer_and_replicas_follow(make_toy, serve, refused) -> None:
    toy = make_toy(random(30))
    async with serve(toy, writable=True) as served, serve(toy) as reader:
        await served.update.Upsert(upsert(["a"], random(1)))
        with writing(toy.storage), pytest.raises(grpc.aio.AioRpcError, match="cannot fold the changes") as error:
            await served.update.Fold(FOLD)
        assert refused(error.value).code is grpc.StatusCode.UNAVAILABLE
        done = await served.update.Fold(FOLD)
        later = await served.update.Upsert(upsert(["b"], random(1, seed=3)))
        found = await nearest(reader, random(1, seed=3)[0], 1, after_sequence=later.sequence)
        assert found == ["b"]
        async with asyncio.timeout(60):
            while (await reader.server.GetServerInfo(server_pb2.GetServerInfoRequest())).generation != done.generation:
                await asyncio.sleep(0.05)
        assert await listed(reader) == await listed(served)
        with pytest.raises(grpc.aio.AioRpcError, match="serve --writable"):
            await reader.update.Fold(FOLD)


async def test_another_generation_beside_changes_keeps_them(make_toy, attach, serve) -> None:
    """A generation that another command publishes meanwhile is served with the waiting changes."""
    toy = make_toy(random(30))
    chance = chances.Random(1)
    async with serve(toy, writable=True) as served:
        await served.update.Upsert(upsert(["a"], random(1, seed=3), labels=["x"]))
        await served.update.Delete(delete(toy.key(5)))
        await asyncio.to_thread(lambda: attach(toy, price=[chance.randrange(9) for _ in range(30)]))
        async with asyncio.timeout(60):
            while (await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())).generation != 2:
                await asyncio.sleep(0.05)
        assert await nearest(served, random(1, seed=3)[0], 1) == ["a"]
        assert toy.key(5) not in await listed(served)
        assert (await served.update.Fold(FOLD)).generation == 3
        assert await listed(served, label="x") == ["a"]


def reader_files(toy) -> set[str]:
    """Return the files of the newest generation."""
    return set(generations.require_latest(toy.storage).files)


async def test_generation_that_a_server_closed_can_be_removed_immediately(make_toy, serve) -> None:
    """Whatever still refers to it, such as a thread that has not ended yet."""
    toy = make_toy(random(30))
    async with serve(toy, writable=True) as served:
        first = served.app.current.snapshot.base
        await served.update.Upsert(upsert(["a"], random(1)))
        await served.update.Fold(FOLD)
        second = served.app.current.snapshot.base
        with writing(toy.storage):
            assert (await asyncio.to_thread(collect, toy.storage, 1)).in_use == []
        await served.update.Upsert(upsert(["b"], random(1, seed=2)))
        await served.update.Fold(FOLD)
    assert (first.generation, second.generation) == (1, 2)
    with writing(toy.storage):
        collected = collect(toy.storage, 1)
    assert collected.removed == [2]


async def test_gc_and_verify_know_the_log(make_toy, serve) -> None:
    toy = make_toy(random(60), clusters=3)
    # Not all of the toy's own files are written as in a real run.
    first = reader_files(toy)
    async with serve(toy, writable=True) as served:
        for turn in range(3):
            await served.update.Upsert(upsert([f"k{turn}", "same"], random(2, seed=turn)))
            await served.update.Delete(delete(toy.key(int(toy.ids[turn]))))
            await served.update.Fold(FOLD)
        await served.update.Upsert(upsert(["later"], random(1, seed=7)))
        before = await listed(served)
    log = [name.path for name in changelog.names(toy.storage)]
    assert len(log) == 4
    with writing(toy.storage):
        kept = collect(toy.storage, 4)
        assert not [path for path in kept.files if path in log]
        assert not [path for path in kept.foreign if path.startswith("live/")]
        removed = collect(toy.storage, 1)
    assert [path for path in removed.files if path in log] == sorted(log[:3], reverse=True)
    report = run_verify(toy.storage, VerifySettings(deep=True), Silent())
    about_changes = [check for check in report.checks if check.name == "changes"]
    assert [(check.looked, check.unit) for check in about_changes] == [(1, "records")]
    written = {path for path in reader_files(toy) if path not in first}
    assert written
    assert not [damage for damage in report.damages if damage.path in written]
    async with serve(toy, writable=True) as served:
        assert await listed(served) == before
    path = toy.storage.local(log[3])
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    report = run_verify(toy.storage, VerifySettings(), Silent())
    assert [damage.path for damage in report.damages if damage.path.startswith("live/")] == [log[3]]
