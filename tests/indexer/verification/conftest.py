"""A real, small collection: every kind of file, several parts, and its images."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.stored_results import store_result
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.models.network import Node
from lookalike_indexer.progress import Silent
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.report import Report
from lookalike_indexer.verification.verify_stage import run_verify

Make = Callable[[Storage], None]
# Without embedding again, which takes seconds and is not the subject of most tests.
QUICK = VerifySettings(images=0)


@dataclasses.dataclass(frozen=True)
class Made:
    """The place of the collection, and functions to run each of its stages (again)."""

    root: Path
    pictures: Path
    embed: Make
    cluster: Make
    build: Make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Eleven images and a reject in three parts; two spaces, a clustering, an index, a result; three generations."""
    folder = tmp_path_factory.mktemp("verified")
    pictures = folder / "pictures"
    for number in range(11):
        label = pictures / "ab"[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((40, 32)).save(label / f"{number:02d}.png")
    (pictures / "a" / "05-broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    settings = EmbedSettings(
        source=str(pictures), model="shufflenet_v2_x0_5", weights="untrained:5", layers=(Node("conv5", "max"),),
        batch_size=4, part_size=4, workers=1, compute="float32",
    )  # fmt: skip

    def embed(storage: Storage) -> None:
        publish(storage, run_embed(storage, generations.latest(storage), settings, Silent())[0])

    def cluster(storage: Storage) -> None:
        latest = generations.require_latest(storage)
        publish(storage, run_cluster(storage, latest, ClusterSettings(clusters=3), Silent())[0])

    def build(storage: Storage) -> None:
        latest = generations.require_latest(storage)
        publish(storage, run_build(storage, latest, BuildSettings(index="flat"), Silent())[0])

    storage = Storage(folder / "collection")
    embed(storage)
    cluster(storage)
    build(storage)
    table = pa.table({"count": [3, 4]})
    store_result(CollectionReader.open(str(storage.root)), "kept", Result("matrix", {"k": 3}, {"counts": table}))
    return Made(storage.root, pictures, embed, cluster, build)


def publish(storage: Storage, draft: Manifest) -> None:
    generations.publish(storage, draft)


@pytest.fixture
def storage(made: Made, tmp_path: Path) -> Storage:
    """A copy of the collection to damage."""
    shutil.copytree(made.root, tmp_path / "collection")
    return Storage(tmp_path / "collection")


@pytest.fixture
def verify() -> Callable[..., Report]:
    return lambda storage, settings=QUICK: run_verify(storage, settings, Silent())


@pytest.fixture
def flip() -> Callable[[Storage, str, int], None]:
    """Change one byte of a file."""

    def change(storage: Storage, path: str, position: int) -> None:
        local = storage.local(path)
        data = bytearray(local.read_bytes())
        data[position] ^= 0x41
        local.write_bytes(data)

    return change


@pytest.fixture
def forge() -> Callable[[Storage, str, Callable[[pa.Table], pa.Table]], None]:
    """Change a table, and publish a generation whose manifest has the table's new digest."""

    def change(storage: Storage, path: str, edit: Callable[[pa.Table], pa.Table]) -> None:
        import pyarrow.parquet as pq

        from lookalike_indexer.collection import schema

        table = edit(pq.read_table(storage.local(path)))
        pq.write_table(table, storage.local(path), **schema.writer_options(table.schema))
        newest = generations.require_latest(storage)
        files = {name: entry for name, entry in newest.files.items() if name != path}
        for number in generations.numbers(storage):
            storage.remove(f"generations/{number:06d}.json")
        generations.publish(storage, dataclasses.replace(newest, files=files))

    return change
