"""The change log of a server: a single writer, disk errors, damage, and servers that follow."""

from __future__ import annotations

import asyncio
import errno
import os
import random as chances
import shutil

import grpc
import numpy as np
import pytest
from tests.server.live.test_update import delete, listed, nearest, random, upsert

from lookalike.v1 import search_pb2, server_pb2, types_pb2, update_pb2
from lookalike_indexer.collection import changelog
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import CollectionLockedError


async def test_second_writer_is_rejected_with_the_owner_of_the_log(make_toy, serve) -> None:
    toy = make_toy(random(30))
    async with serve(toy, writable=True) as served:
        with pytest.raises(CollectionLockedError, match=f"Process {os.getpid()} on .*without --writable"):
            async with serve(toy, writable=True):
                pass
        await served.update.Upsert(upsert(["a"], random(1)))
    async with serve(toy, writable=True) as served:
        assert "a" in await listed(served)
        info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert (info.writable, info.sequence, info.live_rows) == (True, 1, 1)


async def test_other_servers_follow_the_log_and_wait_for_a_requested_change(make_toy, serve, refused) -> None:
    toy = make_toy(random(40))
    query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[7]))
    async with serve(toy, writable=True) as writer, serve(toy) as reader:
        vector = random(1, seed=3)
        done = await writer.update.Upsert(upsert(["a"], vector))
        assert await nearest(reader, vector[0], 1, after_sequence=done.sequence) == ["a"]
        done = await writer.update.Delete(delete("a", toy.key(5)))
        assert "a" not in await nearest(reader, vector[0], 40, after_sequence=done.sequence)
        with pytest.raises(grpc.aio.AioRpcError, match=r"changes up to 2.*requires 9") as error:
            await reader.search.Search(search_pb2.SearchRequest(query=query, k=1, after_sequence=9))
        assert refused(error.value).code is grpc.StatusCode.UNAVAILABLE
        info = await reader.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert (info.writable, info.sequence, info.deleted_rows) == (False, 2, 2)


async def test_failed_write_changes_nothing_and_the_next_write_succeeds(make_toy, serve, refused, monkeypatch) -> None:
    toy = make_toy(random(30))
    sync = os.fdatasync
    failures: list[int] = []

    def failing(file: int) -> None:
        if failures:
            raise OSError(failures.pop(), "it failed")
        sync(file)

    monkeypatch.setattr(os, "fdatasync", failing)
    codes = {errno.EIO: grpc.StatusCode.UNAVAILABLE, errno.ENOSPC: grpc.StatusCode.RESOURCE_EXHAUSTED}
    async with serve(toy, writable=True) as served:
        await served.update.Upsert(upsert(["a"], random(1)))
        for number, code in codes.items():
            failures.append(number)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await served.update.Upsert(upsert(["lost"], random(1)))
            assert refused(error.value).code is code
            assert "lost" not in await listed(served)
            info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
            assert info.update_problem
            await served.update.Upsert(upsert([f"after-{number}"], random(1)))
            info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
            assert not info.update_problem
        before = await listed(served)
    assert len(changelog.names(Storage(toy.root))) == 3
    async with serve(toy, writable=True) as served:
        assert await listed(served) == before
        assert "lost" not in before


async def test_writer_without_its_log_rejects_changes(make_toy, serve, refused) -> None:
    toy = make_toy(random(30))
    async with serve(toy, writable=True) as served:
        await served.update.Upsert(upsert(["a"], random(1)))
        # Another machine that does not see this one's lock.
        (toy.root / changelog.Name(9, 1).path).write_bytes(changelog.header(9, 2))
        with pytest.raises(grpc.aio.AioRpcError, match="taken over"):
            await served.update.Upsert(upsert(["b"], random(1)))
        assert "b" not in await listed(served)


async def test_damaged_log_is_served_up_to_the_damage(make_toy, serve) -> None:
    toy = make_toy(random(30), clusters=3)
    states: list[list[str]] = []
    async with serve(toy, writable=True) as served:
        states.append(await listed(served))
        for number in range(12):
            if number % 3 == 2:
                await served.update.Delete(delete(toy.key(int(toy.ids[number])), f"k{number - 1}"))
            else:
                await served.update.Upsert(upsert([f"k{number}", toy.key(int(toy.ids[number]))], random(2, number)))
            states.append(await listed(served))
    path = toy.root / changelog.Name(1, 1).path
    whole = path.read_bytes()
    ends = [record.end for record in changelog.records(path, changelog.HEADER.size, 1)]
    chance = chances.Random(5)
    kept = toy.root.with_name("kept")
    shutil.copytree(toy.root, kept)
    for turn in range(6):
        shutil.rmtree(toy.root)
        shutil.copytree(kept, toy.root)
        at = chance.randrange(changelog.HEADER.size, len(whole))
        data = bytearray(whole)
        if turn % 2:
            del data[at:]
        else:
            data[at] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        async with serve(toy, writable=True) as served:
            whole_records = sum(end <= at for end in ends)
            assert await listed(served) == states[whole_records]
            # New changes are kept, and the damaged records never come back.
            await served.update.Upsert(upsert(["later"], random(1)))
            later = await listed(served)
        async with serve(toy) as served:
            assert await listed(served) == later


async def test_changes_of_concurrent_callers_are_all_stored(make_toy, serve) -> None:
    toy = make_toy(random(30))
    async with serve(toy, writable=True) as served:
        vectors = random(64, seed=6)
        done = await asyncio.gather(
            *(served.update.Upsert(upsert([f"k{number}"], vectors[number : number + 1])) for number in range(64))
        )
        assert sorted(one.sequence for one in done) == list(range(1, 65))
        for number in range(0, 64, 7):
            assert await nearest(served, vectors[number], 1) == [f"k{number}"]
        assert len(await listed(served)) == 95
        # A list that was begun is read to its end, whatever changes meanwhile.
        everything = await listed(served)
        assert len(everything) == len(set(everything))
        await served.update.Set(update_pb2.SetRequest(keys=["k1"], label="z"))
        assert np.isin("k1", await listed(served, label="z"))
