"""Changes of the source between two runs: files are replaced, removed, renamed, relabeled, rewritten, or come back."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import MismatchError, UsageError, WeightsError
from lookalike_indexer.models.network import Node
from lookalike_indexer.progress import Silent
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

MODEL = "squeezenet1_1"
SECOND = {"name": "second"}


@pytest.fixture
def reader(storage: Storage):
    return lambda: CollectionReader.open(str(storage.root))


def by_key(reader: CollectionReader, space: str = MODEL) -> dict[str, np.ndarray]:
    """Return the embeddings of a space by key."""
    keys = dict(zip(reader.images().column("id").to_pylist(), reader.images().column("key").to_pylist(), strict=True))
    return {
        keys[image_id]: vector
        for ids, vectors in reader.stream(space)
        for image_id, vector in zip(ids.tolist(), vectors, strict=True)
    }


def reasons(reader: CollectionReader, model: str = MODEL) -> dict[str, tuple[str, str]]:
    return {row["key"]: (row["kind"], row["reason"]) for row in reader.rejects(model).to_pylist()}


def verified(storage: Storage) -> list[str]:
    report = run_verify(storage, VerifySettings(deep=True), Silent())
    return [f"{damage.path} {damage.what}" for damage in report.damages]


# Batches with other images round differently.
def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.allclose(one[key], other[key], rtol=1e-4, atol=1e-4) for key in one)


def test_replaced_file_is_reported_and_models_do_not_mix_versions(embed, reader, photos, storage, add_photo):
    embed()
    before = by_key(reader())
    add_photo(photos / "a" / "02.png", 70)
    report = embed(**SECOND)
    assert (report.changed, report.embedded, report.rejected) == (1, 19, 1)
    assert same(by_key(reader()), before)
    kind, reason = reasons(reader(), "second")["a/02.png"]
    assert kind == "changed"
    assert hashlib.sha256((photos / "a" / "02.png").read_bytes()).hexdigest()[:16] in reason
    assert verified(storage) == []
    # It is reported until the file has the embedded bytes again; then the second model embeds it, too.
    assert embed(**SECOND).changed == 1
    add_photo(photos / "a" / "02.png", 2)
    report = embed(**SECOND)
    assert (report.changed, report.embedded, report.recovered, report.rejected) == (0, 1, 1, 0)
    assert same(by_key(reader(), "second"), before)
    assert verified(storage) == []


def test_file_with_another_time_and_the_same_bytes_has_not_changed(embed, reader, photos, storage):
    embed()
    os.utime(photos / "a" / "02.png", ns=(5, 5))
    assert embed().changed == 0
    assert embed(**SECOND).embedded == 20


def test_rows_of_a_parquet_file_are_found_by_key(embed, reader, photos, tmp_path, storage):
    paths = sorted(photos.glob("a/*.png"))
    rows = {"key": [path.name for path in paths], "image": [path.read_bytes() for path in paths]}
    source = tmp_path / "photos.parquet"
    pq.write_table(pa.table(rows), source)
    embed(source=str(source))
    before = by_key(reader())
    pq.write_table(pa.table({name: column[::-1] for name, column in rows.items()}), source)
    report = embed(source=str(source), **SECOND)
    assert (report.changed, report.rejected, report.embedded) == (0, 0, len(paths))
    assert same(by_key(reader(), "second"), before)
    assert verified(storage) == []


def test_row_of_another_image_does_not_pass_on_its_label(embed, reader, photos, tmp_path, storage):
    first, second = ((photos / "a" / f"0{number}.png").read_bytes() for number in (0, 2))
    source = tmp_path / "photos.parquet"
    pq.write_table(pa.table({"key": ["x", "y"], "image": [first, second], "label": ["cat", "dog"]}), source)
    embed(source=str(source))
    pq.write_table(pa.table({"key": ["x", "y"], "image": [second, second], "label": ["dog", "wolf"]}), source)
    report = embed(source=str(source))
    assert (report.changed, report.relabelled) == (1, 1)
    assert reader().images().column("label").to_pylist() == ["cat", "wolf"]
    # With its own bytes back, the image has the source's label.
    pq.write_table(pa.table({"key": ["x", "y"], "image": [first, second], "label": ["tiger", "wolf"]}), source)
    report = embed(source=str(source))
    assert (report.changed, report.relabelled) == (0, 1)
    assert reader().images().column("label").to_pylist() == ["tiger", "wolf"]
    assert verified(storage) == []


def test_unreadable_images_are_retried(embed, reader, photos, storage, tmp_path, add_photo):
    """For the model that met them first, and for a model that was added while they were missing."""
    away = tmp_path / "away"
    shutil.move(photos / "b", away)
    listed = [f"a/{number:02d}.png" for number in range(0, 20, 2)] + [
        f"b/{number:02d}.png" for number in range(1, 20, 2)
    ]
    source = photos / "list.txt"
    source.write_text("\n".join(listed))
    first = embed(source=str(source))
    assert (first.embedded, first.rejected) == (10, 10)
    assert {kind for kind, _ in reasons(reader()).values()} == {"missing"}
    assert embed(source=str(source)).rejected == 10
    assert generations.numbers(storage) == [1]
    shutil.move(away, photos / "b")
    second = embed(source=str(source), **SECOND)
    assert (second.embedded, second.rejected) == (20, 0)
    again = embed(source=str(source))
    assert (again.embedded, again.retried, again.recovered, again.rejected) == (10, 10, 10, 0)
    collection = reader()
    assert same(by_key(collection), by_key(collection, "second"))
    assert collection.ids().tolist() == list(range(20))
    assert reasons(collection) == {}
    assert verified(storage) == []


def test_repaired_file_is_retried(embed, reader, photos, storage, add_photo):
    embed()
    assert (embed().retried, embed().rejected) == (0, 0)
    add_photo(photos / "good.png", 90)
    shutil.move(photos / "good.png", photos / "a" / "03-broken.jpg")
    report = embed()
    assert (report.new, report.embedded, report.retried, report.recovered) == (0, 1, 1, 1)
    assert "a/03-broken.jpg" in by_key(reader())
    assert set(reasons(reader())) == {"b/04-empty.png", "zz.gif"}
    assert verified(storage) == []


def test_killed_retry_continues_where_it_stopped(embed, reader, photos, storage, settings, contents):
    shutil.move(photos / "b", photos.parent / "away")
    source = photos / "list.txt"
    source.write_text("\n".join(f"{'ab'[number % 2]}/{number:02d}.png" for number in range(20)))
    embed(source=str(source))
    shutil.move(photos.parent / "away", photos / "b")
    from lookalike_indexer.embedding.embed_stage import run_embed

    # Everything is written, and nothing published.
    wanted = dataclasses.replace(settings, source=str(source))
    _, report = run_embed(storage, generations.latest(storage), wanted, Silent())
    assert report.embedded == 10
    assert storage.local("work").exists()
    assert embed(source=str(source)).embedded == 0
    assert len(by_key(reader())) == 20
    assert not storage.local("work").exists()
    assert verified(storage) == []


def test_labels_are_corrected_without_embedding(embed, reader, tmp_path, storage):
    embed()
    labels = tmp_path / "labels.csv"
    labels.write_text("key,label\na/00.png,first\nb/01.png,\n")
    report = embed(labels=str(labels))
    assert (report.embedded, report.relabelled) == (0, 2)
    found = dict(zip(*(reader().images().column(name).to_pylist() for name in ("key", "label")), strict=True))
    assert (found["a/00.png"], found["b/01.png"], found["a/02.png"]) == ("first", None, "a")
    assert generations.numbers(storage) == [1, 2]
    assert embed(labels=str(labels)).relabelled == 0
    assert generations.numbers(storage) == [1, 2]
    # The previous generation is unchanged.
    old = CollectionReader.open(str(storage.root), 1).images().to_pylist()
    assert old[0]["label"] == "a"
    assert verified(storage) == []
    labels.write_text("key,label\nsomewhere/00.png,first\n")
    with pytest.raises(UsageError, match="No key of the labels file"):
        embed(labels=str(labels))


def test_labels_given_after_a_killed_run_apply_to_its_images(embed, reader, tmp_path, storage):
    embed()
    # A killed run leaves no generation that names its files.
    storage.local("generations/000001.json").unlink()
    (tmp_path / "labels.csv").write_text("key,label\na/00.png,first\n")
    report = embed(labels=str(tmp_path / "labels.csv"))
    assert (report.embedded, report.relabelled) == (0, 1)
    assert reader().images().column("label").to_pylist()[:2] == ["first", "a"]


def test_renamed_file_keeps_its_id_and_its_embedding(embed, reader, photos, storage):
    embed()
    before = by_key(reader())
    (photos / "c").mkdir()
    shutil.move(photos / "a" / "02.png", photos / "c" / "moved.png")
    report = embed()
    assert (report.renamed, report.embedded, report.new, report.gone) == (1, 0, 0, 0)
    before["c/moved.png"] = before.pop("a/02.png")
    assert same(by_key(reader()), before)
    (row,) = (row for row in reader().images().to_pylist() if row["key"] == "c/moved.png")
    assert (row["label"], row["uri"]) == ("c", str(photos / "c" / "moved.png"))
    assert embed(**SECOND).embedded == 20
    assert verified(storage) == []


def test_folder_that_has_moved_is_followed(embed, reader, photos, storage, tmp_path, add_photo):
    embed()
    before = by_key(reader())
    add_photo(photos / "a" / "08.png", 61)
    assert embed().changed == 1
    shutil.move(photos, tmp_path / "elsewhere")
    with pytest.raises(MismatchError, match="lookalike relocate"):
        embed(source=str(tmp_path / "elsewhere"))
    add_photo(tmp_path / "elsewhere" / "new.png", 60)
    report = embed(source=str(tmp_path / "elsewhere"), source_moved=True)
    assert (report.embedded, report.new, report.gone, report.changed) == (1, 1, 0, 1)
    after = by_key(reader())
    del after["new.png"]
    assert same(after, before)
    assert reader().images().column("uri")[0].as_py() == str(tmp_path / "elsewhere" / "a" / "00.png")
    assert verified(storage) == []


@pytest.mark.parametrize("suffix", [".parquet", ".tar", ".zip"])
def test_renamed_image_file_is_followed(embed, reader, photos, storage, tmp_path, suffix: str):
    pictures = {path.name: path.read_bytes() for path in sorted(photos.glob("a/*.png"))}
    before, now = tmp_path / f"before{suffix}", tmp_path / "elsewhere" / f"now{suffix}"
    pack(before, pictures)
    embed(source=str(before))
    vectors = by_key(reader())
    now.parent.mkdir()
    before.rename(now)
    pictures["new.png"] = (photos / "b" / "01.png").read_bytes()
    pack(now, pictures)
    report = embed(source=str(now), source_moved=True)
    assert (report.embedded, report.new, report.gone, report.changed) == (1, 1, 0, 0)
    after = by_key(reader())
    del after["new.png"]
    assert same(after, vectors)
    assert reader().images().column("uri")[0].as_py() == f"{now}#00.png"
    assert embed(source=str(now), **SECOND).embedded == len(pictures)
    assert verified(storage) == []


def test_rejects_of_a_renamed_file_name_its_new_path(embed, reader, storage, photos, tmp_path):
    before, now = tmp_path / "before.zip", tmp_path / "now.zip"
    pack(before, {"good.png": (photos / "a" / "00.png").read_bytes(), "broken.png": b"no picture"})
    embed(source=str(before))
    before.rename(now)
    report = embed(source=str(now), source_moved=True)
    assert (report.embedded, report.retried, report.gone) == (0, 0, 0)
    assert [row["uri"] for row in reader().rejects(MODEL).to_pylist()] == [f"{now}#broken.png"]
    assert verified(storage) == []


def pack(path: Path, pictures: dict[str, bytes]) -> None:
    """Write a Parquet, tar or zip file of images."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"key": list(pictures), "image": list(pictures.values())}), path)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for key, data in pictures.items():
                archive.writestr(key, data)
    else:
        with tarfile.open(path, "w") as archive:
            for key, data in pictures.items():
                member = tarfile.TarInfo(key)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def test_folder_of_other_images_is_not_a_moved_source(embed, photos, tmp_path, add_photo):
    embed()
    shutil.copytree(photos, tmp_path / "elsewhere")
    add_photo(tmp_path / "elsewhere" / "a" / "00.png", 99)
    with pytest.raises(MismatchError, match=r"elsewhere/a/00\.png differs from the image"):
        embed(source=str(tmp_path / "elsewhere"), source_moved=True)
    add_photo(tmp_path / "empty" / "x.png", 98)
    with pytest.raises(MismatchError, match="20 of 20 images of the collection are not in"):
        embed(source=str(tmp_path / "empty"), source_moved=True)


@pytest.mark.parametrize("table", ["embeddings", "predictions"])
def test_removed_part_is_rebuilt_with_the_same_bytes(embed, storage, contents, table):
    embed()
    before = contents(storage)
    storage.local(f"{table}/{MODEL}/part-000001.parquet").unlink()
    embed()
    assert contents(storage) == before
    assert verified(storage) == []


@pytest.mark.parametrize("table", ["embeddings", "predictions", "images"])
def test_removed_part_with_missing_images_is_described_by_a_new_manifest(embed, reader, photos, storage, table):
    """After an image is gone, the advice of `verify` still works: the manifest describes the current files."""
    embed()
    folder = table if table == "images" else f"{table}/{MODEL}"
    storage.local(f"{folder}/part-000001.parquet").unlink()
    (gone,) = [row["key"] for row in reader_rows(storage) if row["id"] == 8]
    (photos / gone).unlink()
    report = embed()
    assert (report.rejected >= 1, report.gone) == (True, 1)
    newest = generations.require_latest(storage)
    assert newest.generation == 2
    for path, entry in newest.files.items():
        assert entry == dataclasses.replace(generations.measure(storage, path), compute=entry.compute), path
    report = run_verify(storage, VerifySettings(), Silent())
    # The previous generation is as damaged as before; the new one is complete.
    assert {damage.path for damage in report.damages} <= {f"{folder}/part-000001.parquet"}
    assert all("lookalike gc" in damage.mend for damage in report.damages)
    collect(storage, keep=1)
    assert verified(storage) == []


def reader_rows(storage: Storage) -> list[dict[str, object]]:
    newest = generations.require_latest(storage)
    return [
        row for path in newest.listing for row in pq.read_table(storage.local(path), columns=["id", "key"]).to_pylist()
    ]


def test_lost_image_part_must_be_embedded_again_by_other_models(embed, reader, photos, storage, add_photo):
    embed()
    embed(**SECOND)
    storage.local("images/part-000001.parquet").unlink()
    add_photo(photos / "a" / "10.png", 71)
    report = embed()
    assert report.again == ["second"]
    assert len(by_key(reader(), "second")) < len(by_key(reader())) == 20
    embed(**SECOND)
    assert same(by_key(reader()), by_key(reader(), "second"))


def test_arithmetic_belongs_to_each_part(embed, reader, photos, storage, add_photo):
    embed(compute="float32")
    add_photo(photos / "z.png", 80)
    embed(compute="bfloat16")
    manifest = reader().manifest
    made = [manifest.files[path].compute for path in manifest.spaces[MODEL].parts]
    assert made == ["float32"] * 4 + ["bfloat16"]
    assert verified(storage) == []
    embed(compute="float32")
    assert verified(storage) == []


def test_embedded_layer_grows_with_the_collection(embed, reader, photos, add_photo):
    embed(layers=(Node("features.6", "max"),))
    add_photo(photos / "z.png", 80)
    report = embed()
    assert report.spaces == [MODEL, f"{MODEL}.features.6.max"]
    assert len(reader().ids(f"{MODEL}.features.6.max")) == 21


def test_failed_runs_do_not_block_later_runs(embed, storage, photos, tmp_path, add_photo, reader):
    """Wrong weights, then the wrong folder, then wrong labels; then everything is correct."""
    with pytest.raises(WeightsError):
        embed(weights=str(tmp_path / "none.pth"))
    assert not list(storage.root.rglob("*.parquet"))
    add_photo(tmp_path / "others" / "x.png", 1)
    embed(source=str(tmp_path / "others"), weights="untrained:7")
    storage.local("generations/000001.json").unlink()  # as if it had been killed before it published
    (tmp_path / "labels.csv").write_text("key,label\nnothing.png,x\n")
    with pytest.raises(UsageError):
        embed(labels=str(tmp_path / "labels.csv"))
    (tmp_path / "labels.csv").write_text("key,label\na/00.png,right\n")
    assert embed(labels=str(tmp_path / "labels.csv")).embedded == 20
    assert reader().images().column("label").to_pylist()[0] == "right"
    assert verified(storage) == []
