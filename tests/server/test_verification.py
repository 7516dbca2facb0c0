"""Only verified data is served, whichever byte of whichever file was changed."""

from __future__ import annotations

import asyncio
import gc as garbage
import random
import shutil
import threading

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike.v1 import experiment_pb2, experiment_pb2_grpc, server_pb2, types_pb2
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError, IndexerError
from lookalike_indexer.indexing.files import read_index
from lookalike_server.generation.later_files import LaterFiles
from lookalike_server.generation.verification import FileVerifier


def vectors(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)


async def until(condition, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def damage(path, position: int) -> bytes:
    good = path.read_bytes()
    path.write_bytes(good[:position] + bytes([good[position] ^ 0x41]) + good[position + 1 :])
    return good


async def test_flipped_byte_in_a_new_generation_keeps_the_old_generation(make_toy, serve, by_vector, caplog) -> None:
    toy = make_toy(clusters=3)
    flips = random.Random(3)
    async with serve(toy, watch=3600) as served:
        make_toy(vectors(300, 2), clusters=2)
        for path in sorted([*CollectionReader.open(str(toy.root)).manifest.files, "generations/000002.json"]):
            local = toy.root / path
            size = local.stat().st_size
            for position in {0, size - 1, flips.randrange(size)}:
                good = damage(local, position)
                with pytest.raises(DataLossError, match=local.name):
                    await served.app.first.reloader.load_newest()
                await served.app.first.reloader.follow()
                assert (await served.neighbors(by_vector(vectors(1, 5)), 3)).served.generation == 1
                local.write_bytes(good)
        assert "generation 2 cannot be served, generation 1 stays in use: DATA_LOSS: " in caplog.text
        assert await served.app.first.reloader.load_newest() == 2
        assert (await served.neighbors(by_vector(vectors(1, 5)), 3)).served.generation == 2


async def test_file_damaged_after_loading_fails_only_the_calls_that_need_it(
    make_toy, serve, by_vector, refused
) -> None:
    toy = make_toy()
    stored = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(toy.ids[3])]))
    async with serve(toy) as served:
        assert (await served.neighbors(stored, 3)).served.generation == 1
        part = toy.root / CollectionReader.open(str(toy.root)).manifest.spaces["tiny"].parts[0]
        good = damage(part, part.stat().st_size // 2)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await served.neighbors(stored, 3)
        assert refused(raised.value).code is grpc.StatusCode.DATA_LOSS
        assert "was replaced or changed since this generation was loaded" in refused(raised.value).message
        assert len((await served.neighbors(by_vector(vectors(1, 5)), 3)).neighbors.ids.data) == 24
        part.unlink()
        with pytest.raises(grpc.aio.AioRpcError, match="is missing from the collection"):
            await served.neighbors(stored, 3)
        part.write_bytes(good)


async def test_recreated_collection_is_served(make_toy, serve, by_vector) -> None:
    """Its numbers start again: equal and lower numbers are other generations than before."""
    asked = vectors(4, 9)
    toy = make_toy()
    make_toy(vectors(100, 1))
    make_toy(vectors(120, 2))
    async with serve(toy) as served:
        for rows, wanted in ((150, 1), (160, 1), (170, 1)):
            old = served.app.current.snapshot
            shutil.rmtree(toy.root)
            again = make_toy(vectors(rows, rows))
            await until(lambda old=old: served.app.current.snapshot is not old)
            reply = await served.neighbors(by_vector(asked), 2)
            assert reply.served.generation == wanted
            np.testing.assert_array_equal(
                np.frombuffer(reply.neighbors.ids.data, "<i8").reshape(4, 2), again.brute_force(asked, 2)[0]
            )
        assert served.app.current.generations == [1]


async def test_same_manifest_in_another_file_is_not_loaded_again(make_toy, serve) -> None:
    toy = make_toy()
    async with serve(toy, watch=3600) as served:
        before = served.app.current.snapshot
        copy = toy.root.with_name("copy")
        shutil.copytree(toy.root, copy)
        shutil.rmtree(toy.root)
        copy.rename(toy.root)
        assert await served.app.first.reloader.load_newest() == 1
        assert served.app.current.snapshot is before


async def test_garbage_collection_keeps_a_generation_while_it_is_served(make_toy, serve, by_vector) -> None:
    toy = make_toy()
    stored = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(toy.ids[3])]))

    def collected():
        garbage.collect()
        with writing(toy.storage):
            return collect(toy.storage, keep=1)

    async with serve(toy, watch=3600) as served:
        make_toy(vectors(100, 1))
        make_toy(vectors(100, 2))
        done = collected()
        assert (done.removed, done.in_use) == ([2], [1])
        assert (await served.neighbors(stored, 3)).served.generation == 1
        await served.app.first.reloader.load_newest()
        await until(lambda: served.app.current.generations == [3])
        async with asyncio.timeout(60):
            while collected().in_use:
                await asyncio.sleep(0.05)
        assert generations.numbers(toy.storage) == [3]
        assert (await served.neighbors(stored, 3)).served.generation == 3


def test_verified_files_are_not_hashed_again(make_toy, monkeypatch) -> None:
    toy = make_toy(part_rows=100)
    hashed = []
    verify = CollectionReader.verify
    monkeypatch.setattr(CollectionReader, "verify", lambda self, path: hashed.append(path) or verify(self, path))
    verifier, reader = FileVerifier(), CollectionReader.open(str(toy.root))
    verifier.verified(reader)
    assert sorted(hashed) == sorted(reader.manifest.files)
    hashed.clear()
    verifier.verified(reader)
    assert hashed == []
    part = reader.manifest.spaces["tiny"].parts[2]
    damage(toy.root / part, 99)
    with pytest.raises(DataLossError, match="its digest differs"):
        verifier.verified(reader)
    assert hashed == [part]


def test_files_verified_ahead_are_hashed_once_and_damage_is_reported(make_toy, monkeypatch) -> None:
    toy = make_toy()
    hashed = []
    verify = CollectionReader.verify
    monkeypatch.setattr(CollectionReader, "verify", lambda self, path: hashed.append(path) or verify(self, path))
    reader = CollectionReader.open(str(toy.root))
    verifier = FileVerifier()
    verifier.verify_ahead(str(toy.root))
    verifier.verified(reader)
    assert sorted(hashed) == sorted(reader.manifest.files)

    index = reader.storage.local(reader.manifest.indexes["tiny/main"].path)
    damage(index, 100)
    for collection in (str(toy.root), str(toy.root / "none")):
        other = FileVerifier()
        other.verify_ahead(collection)
        with pytest.raises(DataLossError, match=index.name):
            other.verified(reader)


def test_index_changed_after_its_verification_is_rejected(make_toy) -> None:
    toy = make_toy()
    pinned = FileVerifier().verified(CollectionReader.open(str(toy.root)))
    entry = pinned.manifest.indexes["tiny/main"]
    damage(pinned.storage.root / entry.path, 100)
    with pytest.raises(DataLossError, match="was replaced or changed"):
        read_index(pinned, entry)


def test_early_shutdown_does_not_wait_for_verification(make_toy) -> None:
    toy = make_toy(part_rows=20)
    verifier = FileVerifier()
    verifier.abandon()
    with pytest.raises(DataLossError, match="the server is stopping"):
        verifier.verified(CollectionReader.open(str(toy.root)))


class _Runner:
    """Runs no experiment, and records its requests."""

    hung = False

    def __init__(self) -> None:
        self.ran: list[str] = []

    def answer(self, key) -> bytes:
        self.ran.append(key.name)
        return experiment_pb2.ExperimentResult().SerializeToString()

    def close(self) -> None:
        pass


def test_file_that_could_not_be_read_is_verified_later(monkeypatch, caplog) -> None:
    monkeypatch.setattr("lookalike_server.generation.later_files._RETRY_S", 0.0)
    tries: list[str] = []

    def verify(path: str) -> None:
        tries.append(path)
        if path == "locked" and tries.count(path) < 3:
            raise IndexerError("locked cannot be read: Permission denied.")

    files = LaterFiles(["locked", "open"], 1, verify)
    files.verify_all()
    assert sorted(tries) == ["locked"] * 3 + ["open"]
    assert files.progress == (3, 3, "")
    assert [record.getMessage() for record in caplog.records] == [
        "locked cannot be read: Permission denied. The server tries to verify this file again every 0 s."
    ]


def test_needed_file_does_not_wait_for_background_hashing() -> None:
    """On a busy machine this hashing takes so long that a reading thread would count as hung."""
    began, release, tries = threading.Event(), threading.Event(), []

    def verify(path: str) -> None:
        tries.append(threading.current_thread().name)
        if tries[-1] == "background":
            began.set()
            assert release.wait(10)

    files = LaterFiles(["part"], 0, verify)
    background = threading.Thread(target=files.verify_all, name="background")
    background.start()
    assert began.wait(60)
    files.require("part")
    files.require("part")
    assert tries == ["background", threading.current_thread().name]
    assert files.progress == (1, 1, "")
    release.set()
    background.join(60)
    assert files.progress == (1, 1, "")


def test_no_file_is_tried_again_once_its_generation_is_no_longer_served() -> None:
    tried = threading.Event()

    def verify(path: str) -> None:
        tried.set()
        raise IndexerError("locked cannot be read: Permission denied.")

    files = LaterFiles(["locked"], 0, verify)
    thread = threading.Thread(target=files.verify_all)
    thread.start()
    assert tried.wait(60)
    files.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert not files.progress.is_whole


async def _health(served) -> int:
    stub = health_pb2_grpc.HealthStub(served.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service="verified"))).status


class TestAStart:
    """A server that starts reads ids beside the index, and verifies vectors after it has started to answer."""

    async def test_damaged_file_fails_its_calls_and_is_reported(self, make_toy, serve, by_vector, refused) -> None:
        toy = make_toy(part_rows=100, index_ids=True)
        part = toy.root / CollectionReader.open(str(toy.root)).manifest.spaces["tiny"].parts[2]
        damage(part, part.stat().st_size // 2)
        async with serve(toy) as served:
            asked = vectors(4, 9)
            reply = await served.neighbors(by_vector(asked), 2)
            found = np.frombuffer(reply.neighbors.ids.data, "<i8").reshape(4, 2)
            np.testing.assert_array_equal(found, toy.brute_force(asked, 2)[0])
            right = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(toy.ids[3])]))
            assert (await served.neighbors(right, 1)).served.generation == 1
            for _ in range(2):
                wrong = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(toy.ids[250])]))
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await served.neighbors(wrong, 1)
                assert refused(raised.value).code is grpc.StatusCode.DATA_LOSS
                assert "its digest differs from the manifest's" in refused(raised.value).message
            files = len(CollectionReader.open(str(toy.root)).manifest.files)
            await until(lambda: served.app.current.snapshot.verification.verified == files - 1)
            info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
            assert (info.files, info.verified_files) == (files, files - 1)
            assert part.name in info.damage
            assert await _health(served) == health_pb2.HealthCheckResponse.NOT_SERVING

    async def test_all_is_verified_soon_after(self, make_toy, serve) -> None:
        toy = make_toy(part_rows=100, clusters=3, index_ids=True)
        async with serve(toy) as served:
            async with asyncio.timeout(60):
                while await _health(served) != health_pb2.HealthCheckResponse.SERVING:
                    await asyncio.sleep(0.01)
            info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
            assert info.files == info.verified_files > 0
            assert info.damage == ""

    async def test_vectors_are_not_read_before_the_first_answer(self, make_toy, serve, by_vector, monkeypatch) -> None:
        toy = make_toy(part_rows=100, clusters=3, index_ids=True)
        hashed = []
        verify = CollectionReader.verify
        monkeypatch.setattr(CollectionReader, "verify", lambda self, path: hashed.append(path) or verify(self, path))
        monkeypatch.setattr("lookalike_server.served_collection._verify_rest", lambda snapshot: None)
        async with serve(toy) as served:
            await served.neighbors(by_vector(vectors(1, 5)), 3)
            manifest = CollectionReader.open(str(toy.root)).manifest
            assert not set(hashed).intersection(manifest.spaces["tiny"].parts)
            assert manifest.indexes["tiny/main"].path in hashed
            stored = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(toy.ids[3])]))
            await served.neighbors(stored, 1)
            assert set(hashed).intersection(manifest.spaces["tiny"].parts) == {manifest.spaces["tiny"].parts[0]}

    async def test_experiments_wait_for_the_files_that_they_read(self, make_toy, serve, refused, monkeypatch) -> None:
        """They run in a process that opens the collection itself, and does not know what was verified."""
        monkeypatch.setattr("lookalike_server.served_collection._verify_rest", lambda snapshot: None)
        toy = make_toy(part_rows=100, clusters=3, index_ids=True)
        part = toy.root / CollectionReader.open(str(toy.root)).manifest.spaces["tiny"].parts[2]
        good = damage(part, part.stat().st_size // 2)
        for is_right in (False, True):
            if is_right:
                part.write_bytes(good)
            runner = _Runner()
            async with serve(toy, experiment_runner=runner) as served:
                experiments = experiment_pb2_grpc.ExperimentServiceStub(served.channel)
                for _ in range(2):
                    if is_right:
                        await experiments.ChooseK(experiment_pb2.ChooseKRequest(space="tiny"))
                        assert served.app.current.snapshot.verification.is_whole
                        continue
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        await experiments.ChooseK(experiment_pb2.ChooseKRequest(space="tiny"))
                    assert refused(raised.value).code is grpc.StatusCode.DATA_LOSS
                    assert "its digest differs from the manifest's" in refused(raised.value).message
            assert runner.ran == ["choose_k"] * is_right

    @pytest.mark.parametrize("which", ["ids", "path"])
    async def test_damaged_file_read_at_startup_prevents_the_start(self, make_toy, serve, which) -> None:
        toy = make_toy(index_ids=True)
        path = toy.root / getattr(CollectionReader.open(str(toy.root)).manifest.indexes["tiny/main"], which)
        damage(path, path.stat().st_size // 2)
        with pytest.raises(DataLossError, match=path.name):
            async with serve(toy):
                pass

    async def test_vectors_are_verified_first_where_no_index_names_its_images(self, make_toy, serve) -> None:
        toy = make_toy()
        part = toy.root / CollectionReader.open(str(toy.root)).manifest.spaces["tiny"].parts[1]
        damage(part, part.stat().st_size // 2)
        with pytest.raises(DataLossError, match=part.name):
            async with serve(toy):
                pass

    async def test_later_generation_is_verified_as_a_whole_before_it_is_served(self, make_toy, serve) -> None:
        toy = make_toy(index_ids=True)
        async with serve(toy, watch=3600) as served:
            make_toy(vectors(300, 2), index_ids=True)
            part = toy.root / CollectionReader.open(str(toy.root)).manifest.spaces["tiny"].parts[1]
            damage(part, part.stat().st_size // 2)
            with pytest.raises(DataLossError, match=part.name):
                await served.app.first.reloader.load_newest()
