"""Images that were added as files: thumbnails, URIs and predictions, before and after a fold, and until deleted."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from tests.server.live.test_update import by_keys, delete, listed, random

from lookalike import wire
from lookalike.v1 import collection_pb2, experiment_pb2, search_pb2, types_pb2, update_pb2
from lookalike_indexer.collection import generations, uploaded_images
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.progress import Silent
from lookalike_indexer.upkeep.purge import purge
from lookalike_indexer.verification.deleted import remains_of
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify
from lookalike_server.common.limits import Limits
from lookalike_server.live.collection import LiveCollection

FOLD = update_pb2.FoldRequest()


def jpeg(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 32), color).save(file, "PNG")
    return file.getvalue()


class ByColor:
    """Stand-in for the embedder: the vector of an image begins with its color."""

    def __init__(self, toy: Any) -> None:
        self.fingerprint, self._dim = toy.fingerprint, toy.vectors.shape[1]
        self.alive, self.hung = True, False

    def embed(self, files: list[bytes]) -> EmbeddingResult:
        vectors = np.zeros((len(files), self._dim), np.float32)
        for row, file in enumerate(files):
            vectors[row, :3] = Image.open(io.BytesIO(file)).getpixel((0, 0))
        return EmbeddingResult(vectors)

    def close(self) -> None:
        pass


def pictures(**images: bytes) -> update_pb2.UpsertRequest:
    return update_pb2.UpsertRequest(keys=[f"{name}.png" for name in images], images=list(images.values()))


async def colors(served: Any, *keys: str) -> list[tuple[int, ...] | None]:
    """Return the color of each image's thumbnail, to 16 levels; None without one."""
    found = await served.collection.GetImages(collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=keys)))
    ids = wire.decode(found.images.ids).tolist()
    reply = await served.collection.GetThumbnails(collection_pb2.GetThumbnailsRequest(ids=ids, size=32))
    return [
        tuple(channel // 16 for channel in Image.open(io.BytesIO(data)).convert("RGB").getpixel((4, 4)))
        if data
        else None
        for data in reply.jpegs
    ]


def files_of(root: Path) -> set[str]:
    return {path.name for path in (root / uploaded_images.FOLDER).rglob("*") if path.is_file()}


async def test_uploaded_images_are_stored_shown_folded_and_purged(make_toy, serve) -> None:
    toy = make_toy(random(40), clusters=3)
    red, blue = jpeg((255, 0, 0)), jpeg((0, 0, 255))
    embedder = ByColor(toy)
    async with serve(toy, writable=True, open_embedder=lambda reader, space: embedder) as served:
        await served.update.Upsert(pictures(red=red, blue=blue, again=red))
        assert await colors(served, "red.png", "blue.png", "again.png") == [(15, 0, 0), (0, 0, 15), (15, 0, 0)]
        assert len(files_of(toy.root)) == 2
        # A later image under the same key.
        await served.update.Upsert(pictures(again=blue))
        assert await colors(served, "again.png") == [(0, 0, 15)]
        got = await served.search.GetVectors(search_pb2.GetVectorsRequest(query=by_keys("red.png", "again.png")))
        assert wire.decode(got.vectors)[:, :3].tolist() == [[255, 0, 0], [0, 0, 255]]
    # After a restart, from the log.
    async with serve(toy, writable=True, open_embedder=lambda reader, space: embedder) as served, serve(toy) as reader:
        assert await colors(served, "red.png", "again.png") == [(15, 0, 0), (0, 0, 15)]
        assert await colors(reader, "red.png", "again.png") == [(15, 0, 0), (0, 0, 15)]
        with writing(toy.storage):
            assert not collect(toy.storage, 1).files
        await served.update.Fold(FOLD)
        assert await colors(served, "red.png", "blue.png", "again.png") == [(15, 0, 0), (0, 0, 15), (0, 0, 15)]
        await served.update.Delete(delete("red.png"))
        assert "red.png" not in await listed(served)
        await served.update.Fold(FOLD)
    report = run_verify(toy.storage, VerifySettings(), Silent())
    assert [(check.looked, check.unit) for check in report.checks if check.name == "uploaded images"] == [(2, "images")]
    left = remains_of(toy.storage, "red.png")
    assert [path for path in left.files if path.startswith("pictures/")]
    # The servers of this process release their generations.
    del served, reader
    gc.collect()
    with writing(toy.storage):
        draft, _ = purge(toy.storage, generations.require_latest(toy.storage), Silent())
        generations.publish(toy.storage, draft)
        collect(toy.storage, 1)
    assert files_of(toy.root) == {hashlib.sha256(blue).hexdigest()}
    assert not remains_of(toy.storage, "red.png").files
    # Damaged or lost files are reported, and the others are shown.
    (kept,) = (toy.root / uploaded_images.FOLDER).rglob("?" * 64)
    kept.write_bytes(red)
    report = run_verify(toy.storage, VerifySettings(), Silent())
    assert "SHA-256" in next(damage.what for damage in report.damages if damage.path.startswith("pictures/"))
    kept.unlink()
    report = run_verify(toy.storage, VerifySettings(), Silent())
    assert "is missing" in [damage.what for damage in report.damages if damage.path.startswith("pictures/")]


async def test_uploads_that_wait_for_gc_block_no_other_change(tmp_path) -> None:
    live, other = LiveCollection(str(tmp_path), Limits(), writable=False), Storage(tmp_path)

    async def keep(number: int) -> list[str]:
        async with live.keeping([bytes([number])]) as uris:
            return uris

    await keep(0)
    # The server's background work, such as loading a generation, runs in these threads.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    with uploaded_images.removing(other):
        waiting = [asyncio.create_task(keep(number)) for number in range(1, 9)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 10) == "done"
        assert not any(task.done() for task in waiting)
    assert len({uri for uris in await asyncio.gather(*waiting) for uri in uris}) == 8
    await asyncio.to_thread(live.close)


async def test_moved_collection_has_its_images(make_toy, serve, tmp_path) -> None:
    toy = make_toy(random(40))
    embedder = ByColor(toy)
    async with serve(toy, writable=True, open_embedder=lambda reader, space: embedder) as served:
        await served.update.Upsert(pictures(red=jpeg((255, 0, 0))))
        await served.update.Fold(FOLD)
        await served.update.Upsert(pictures(green=jpeg((0, 255, 0))))
    toy.root = toy.root.rename(tmp_path / "elsewhere")
    async with serve(toy) as served:
        assert await colors(served, "red.png", "green.png") == [(15, 0, 0), (0, 15, 0)]


async def test_experiments_say_as_of_when_they_are(make_toy, serve, refused) -> None:
    toy = make_toy(random(60), clusters=3)
    clusters = experiment_pb2.GetImageClustersRequest
    matrix = experiment_pb2.GetClassMatrixRequest()
    embedder = ByColor(toy)
    async with serve(toy, writable=True, open_embedder=lambda reader, space: embedder) as served:
        before = (await served.experiment.GetClassMatrix(matrix)).served
        assert (before.sequence, list(before.notes)) == (0, [])
        await served.update.Upsert(pictures(red=jpeg((255, 0, 0))))
        await served.update.Delete(delete(toy.key(5)))
        now = (await served.experiment.GetClassMatrix(matrix)).served
        assert (now.generation, now.sequence) == (1, 0)
        assert "2 later changes are not part of it" in now.notes[0]
        with pytest.raises(grpc.aio.AioRpcError, match=r"'red.png' was added after generation 1") as error:
            await served.experiment.GetImageClusters(clusters(image=experiment_pb2.ImageName(key="red.png")))
        assert refused(error.value).code is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.experiment.GetImageClusters(clusters(image=experiment_pb2.ImageName(key=toy.key(5))))
        assert refused(error.value).code is grpc.StatusCode.NOT_FOUND
        await served.update.Fold(FOLD)
        after = (await served.experiment.GetClassMatrix(matrix)).served
        assert (after.generation, after.sequence, list(after.notes)) == (2, 2, [])
        await served.experiment.GetImageClusters(clusters(image=experiment_pb2.ImageName(key="red.png")))
