"""Data of earlier generations and earlier formats does not change in later runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection import encoding, generations, layout, schema
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.removal import Unwanted, remove
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.errors import UsageError
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.open import open_source
from lookalike_indexer.sources.relocate import relocate
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

MODEL = "squeezenet1_1"


def verified(storage: Storage) -> list[str]:
    report = run_verify(storage, VerifySettings(deep=True), Silent())
    return [f"{damage.path} {damage.what}" for damage in report.damages]


def removed(storage: Storage, **unwanted: tuple[str, ...]) -> None:
    draft, _ = remove(generations.require_latest(storage), Unwanted(**unwanted))
    generations.publish(storage, draft)


def vectors(storage: Storage, space: str) -> np.ndarray:
    return np.concatenate([block for _, block in CollectionReader.open(str(storage.root)).stream(space)])


@pytest.mark.parametrize("model", [MODEL, "shufflenet_v2_x0_5"])
def test_reused_name_keeps_files_of_the_removed_model(embed, storage, model):
    embed()
    for seed in (1, 2, 3):
        embed(name="second", model=model, weights=f"untrained:{seed}")
        removed(storage, models=("second",))
    for number in generations.numbers(storage):
        reader = CollectionReader.open(str(storage.root), number)
        for path in reader.manifest.files:
            reader.verify(path)


def test_each_model_has_all_rejects_so_that_any_other_may_be_removed(embed, storage):
    embed()
    report = embed(name="second")
    # They were not tried again.
    assert (report.rejected, report.retried) == (0, 0)
    reader = CollectionReader.open(str(storage.root))
    assert reader.rejects("second").equals(reader.rejects(MODEL))
    assert len(reader.rejects("second")) == 3
    generation = reader.manifest.generation
    embed(name="second")
    assert generations.numbers(storage)[-1] == generation
    removed(storage, models=(MODEL,))
    assert verified(storage) == []


def test_patterns_that_a_later_run_leaves_out_are_kept(embed, storage, photos, add_photo):
    embed()
    add_photo(photos / "c" / "30.png", 30)
    assert embed(exclude=("c/",)).new == 0
    assert embed().new == 0
    assert generations.require_latest(storage).source.exclude == ["c/"]


def test_images_listed_by_a_failed_run_can_be_excluded_by_the_next(embed, storage, settings):
    def refuse(space: str, images: int, dim: int) -> None:
        raise UsageError("--clusters is too large.")

    with pytest.raises(UsageError, match="too large"):
        run_embed(storage, None, settings, Silent(), refuse)
    report = embed(exclude=("b/",))
    assert (report.embedded, report.gone) == (10, 0)
    keys = CollectionReader.open(str(storage.root)).images(["key"]).column("key").to_pylist()
    assert {key[0] for key in keys} == {"a"}


@pytest.fixture
def parquet(photos: Path, tmp_path: Path) -> Path:
    """Return rows whose keys are numbers, but not their row numbers."""
    paths = sorted(photos.glob("?/??.png"))
    source = tmp_path / "table" / "photos.parquet"
    source.parent.mkdir()
    keys = [str((7 * row + 3) % len(paths)) for row in range(len(paths))]
    pq.write_table(pa.table({"key": keys, "image": [path.read_bytes() for path in paths]}), source)
    return source


def as_format_1(storage: Storage, source: Path) -> None:
    """Write a collection of a Parquet file in format 1: rows are named by number, and without digests."""
    manifest = generations.require_latest(storage)
    row = 0
    for listing, images in zip(manifest.listing, manifest.images, strict=True):
        for path, columns in ((listing, schema.SOURCE_1), (images, schema.IMAGES_1)):
            table = read_part(storage, path)
            uris = pa.array([f"{source}#{row + number}" for number in range(len(table))])
            at = table.column_names.index("uri")
            table = table.set_column(at, table.schema.field("uri"), uris).select(columns.names)
            write_part(storage, path, table)
        row += len(table)
    files = {path: generations.measure(storage, path) for path in manifest.files}
    earlier = dataclasses.replace(manifest, format=1, files=files)
    storage.remove(layout.generation(1))
    storage.publish(layout.generation(1), encoding.encode(earlier).manifest)


def test_rows_of_a_parquet_file_in_format_1_are_read_by_key(embed, storage, parquet, tmp_path):
    embed(source=str(parquet))
    as_format_1(storage, parquet)
    assert verified(storage) == []
    reader = CollectionReader.open(str(storage.root))
    rows = reader.images(["key", "uri"]).to_pylist()
    assert [row["uri"] for row in rows] == [f"{parquet}#{row['key']}" for row in rows]
    assert reader.images(["uri"]).column("uri").to_pylist() == [row["uri"] for row in rows]
    report = embed(source=str(parquet), name="second")
    assert (report.embedded, report.rejected) == (20, 0)
    assert np.array_equal(vectors(storage, "second"), vectors(storage, MODEL))
    moved = tmp_path / "elsewhere" / parquet.name
    moved.parent.mkdir()
    parquet.rename(moved)
    draft, relocation = relocate(storage, generations.require_latest(storage), open_source(str(moved)), 100, Silent())
    assert (relocation.checked, relocation.missing) == (20, 0)
    generations.publish(storage, draft)
    assert verified(storage) == []
