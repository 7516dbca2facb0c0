"""A run with --sync makes the collection equal to its source."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lookalike_indexer.collection import generations, tombstones, uploaded_images
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.schema import NOT_OF_SOURCE
from lookalike_indexer.embedding.embed_stage import preview_changes, run_embed
from lookalike_indexer.errors import UsageError
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.sync import Changes, Sync, summary_line
from lookalike_indexer.upkeep import fold
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify


@pytest.fixture
def sync(storage, settings):
    """Run the stage with --sync and publish the result; return the changes."""

    def run(wanted=None, **changes):
        draft, report = run_embed(
            storage,
            generations.latest(storage),
            dataclasses.replace(settings, **changes),
            Silent(),
            sync=wanted or Sync(),
        )
        generations.publish(storage, draft)
        return report.changes

    return run


def opened(storage):
    return CollectionReader.open(str(storage.root))


def images(storage):
    """Return the id of each key."""
    table = opened(storage).images(["id", "key"])
    keys = table.column("key").to_pylist()
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, table.column("id").to_pylist(), strict=True))


def assert_true(storage, photos):
    """Check that live rows are the vectors of their keys' current bytes, one for each readable image."""
    reader = opened(storage)
    table = reader.images(["id", "key", "sha256"])
    for row in table.to_pylist():
        assert hashlib.sha256((photos / row["key"]).read_bytes()).hexdigest() == row["sha256"]
    assert reader.ids().tolist() == table.column("id").to_pylist()
    assert run_verify(storage, VerifySettings(deep=True), Silent()).damages == []


def vectors(storage):
    reader = opened(storage)
    name, entry = reader.space()
    return dict(zip(reader.ids().tolist(), reader.vectors(name, np.arange(entry.rows)), strict=True))


def test_nothing_new_changes_nothing(embed, sync, storage, photos):
    embed()
    assert sync() == Changes()
    assert generations.numbers(storage) == [1]


def test_every_kind_of_change_in_one_call(embed, sync, storage, photos, add_photo):
    embed()
    before, known = images(storage), vectors(storage)
    add_photo(photos / "b" / "new.png", 100)
    add_photo(photos / "a" / "00.png", 101)  # other bytes
    (photos / "a" / "02.png").rename(photos / "moved.png")  # renamed, and without a label
    (photos / "a" / "04.png").unlink()
    (photos / "b" / "01.png").rename(photos / "a" / "01.png")  # renamed and relabeled
    done = sync()
    assert done == Changes(new=1, changed=1, renamed=2, deleted=1, relabelled=2)
    after = images(storage)
    assert after.keys() == before.keys() - {"a/02.png", "a/04.png", "b/01.png"} | {"b/new.png", "moved.png", "a/01.png"}
    assert (after["moved.png"], after["a/01.png"]) == (before["a/02.png"], before["b/01.png"])
    assert min(after["a/00.png"], after["b/new.png"]) > max(before.values())
    found = vectors(storage)
    np.testing.assert_array_equal(found[after["moved.png"]], known[before["a/02.png"]])
    assert (found[after["a/00.png"]] != known[before["a/00.png"]]).any()
    reasons = {row["id"]: row["reason"] for row in tombstones.stored(storage, opened(storage).manifest).to_pylist()}
    assert reasons == {before["a/00.png"]: "replaced", before["a/04.png"]: "gone"}
    assert_true(storage, photos)
    assert sync() == Changes()
    assert summary_line(done) == "1 new, 1 changed, 2 renamed, 1 deleted, 2 relabeled"


def test_dry_run_reports_the_same_and_changes_nothing(embed, sync, storage, settings, photos, add_photo):
    embed()
    add_photo(photos / "b" / "new.png", 100)
    add_photo(photos / "a" / "00.png", 101)
    (photos / "a" / "02.png").rename(photos / "moved.png")
    (photos / "a" / "04.png").unlink()
    files = sorted(storage.walk())
    seen = preview_changes(storage, generations.require_latest(storage), settings, Sync(), Silent())
    assert sorted(storage.walk()) == files
    assert seen == sync()
    assert seen.any


def test_two_swapped_files_keep_their_vectors(embed, sync, storage, photos):
    embed()
    before = images(storage)
    a, b, aside = photos / "a" / "00.png", photos / "b" / "01.png", photos / "aside"
    a.rename(aside)
    b.rename(a)
    aside.rename(b)
    for path in (a, b):
        os.utime(path, ns=(1, path.stat().st_size))
    assert sync().renamed == 2
    after = images(storage)
    assert (after["a/00.png"], after["b/01.png"]) == (before["b/01.png"], before["a/00.png"])
    assert_true(storage, photos)


def test_file_moved_away_and_another_in_its_place(embed, sync, storage, photos, add_photo):
    embed()
    before = images(storage)
    (photos / "a" / "00.png").rename(photos / "b" / "old.png")
    add_photo(photos / "a" / "00.png", 200)
    done = sync()
    assert (done.new, done.changed, done.renamed, done.deleted) == (1, 0, 1, 0)
    after = images(storage)
    assert after["b/old.png"] == before["a/00.png"]
    assert after["a/00.png"] > max(before.values())
    assert_true(storage, photos)


def test_sync_applies_the_changes_that_embed_only_reported(embed, sync, storage, photos, add_photo):
    embed()
    add_photo(photos / "a" / "00.png", 101)
    (photos / "a" / "04.png").unlink()
    report = embed()
    assert (report.changed, report.gone, report.images) == (1, 1, 20)
    done = sync()
    assert (done.changed, done.deleted) == (1, 1)
    assert_true(storage, photos)


def test_restored_file_gets_a_new_id(embed, sync, storage, photos, add_photo):
    embed()
    before = images(storage)
    (photos / "a" / "04.png").unlink()
    sync()
    add_photo(photos / "a" / "04.png", 4)
    report = embed()
    assert (report.kept_out, report.new) == (1, 0)  # without --sync it stays deleted
    assert sync().new == 1
    assert images(storage)["a/04.png"] > max(before.values())
    (photos / "a" / "04.png").unlink()
    assert sync().deleted == 1
    assert "a/04.png" not in images(storage)
    assert_true(storage, photos)


def test_images_that_a_user_deleted_stay_deleted(embed, sync, storage, photos):
    embed()
    delete(storage, keys=["a/04.png"])
    assert embed().kept_out == 1
    assert sync() == Changes(kept_out=1)
    assert "a/04.png" not in images(storage)
    assert sync(Sync(undelete=frozenset(["a/04.png"]))).new == 1
    assert images(storage)["a/04.png"] == 23
    assert sync() == Changes()
    assert_true(storage, photos)


def test_changed_file_that_is_no_image_leaves_no_row(embed, sync, storage, photos):
    embed()
    (photos / "a" / "00.png").write_bytes(b"no picture any more")
    assert sync().changed == 1
    assert "a/00.png" not in images(storage)
    assert "a/00.png" in opened(storage).rejects("squeezenet1_1").column("key").to_pylist()
    assert_true(storage, photos)


def test_offline_source_deletes_nothing(embed, sync, storage, photos):
    embed()
    kept = photos.with_name("kept")
    shutil.copytree(photos / "b", kept)
    shutil.rmtree(photos / "a")
    for path in list((photos / "b").iterdir())[:5]:
        path.unlink()
    with pytest.raises(UsageError, match=r"of the 23 images are no longer in .*offline.*--allow-deletions"):
        sync()
    assert generations.numbers(storage) == [1]
    assert sync(Sync(allow_deletions=True)).deleted > 11
    shutil.rmtree(photos / "b")
    (photos / "b").mkdir()
    with pytest.raises(UsageError):
        sync(Sync(allow_deletions=True))


def test_newly_excluded_images_leave_the_source(embed, sync, storage, photos):
    embed()
    assert sync(exclude=("a/0[0-4].png",)).deleted == 3
    assert not {"a/00.png", "a/02.png", "a/04.png"} & images(storage).keys()


def test_change_listed_by_a_killed_run_is_applied_by_the_next(
    embed, sync, storage, settings, photos, add_photo, monkeypatch
):
    embed()
    add_photo(photos / "a" / "00.png", 101)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("lookalike_indexer.embedding.embed_stage._embed", stop)
        with pytest.raises(KeyboardInterrupt):
            sync()
    assert generations.numbers(storage) == [1]
    # Any continuation, with or without --sync, leaves one image for each key.
    report = embed()
    assert report.embedded == 1
    assert images(storage)["a/00.png"] == 23
    assert_true(storage, photos)


def test_images_from_outside_the_source_are_kept(embed, sync, storage, photos):
    """Images that do not come from the source, such as uploaded ones, stay if the source lacks them."""
    embed()
    (photos / "a" / "04.png").unlink()
    manifest = generations.require_latest(storage)
    path = manifest.listing[0]
    table = read_part(storage, path)
    times = [
        NOT_OF_SOURCE if key == "a/04.png" else time
        for key, time in zip(table.column("key").to_pylist(), table.column("modified_ns").to_pylist(), strict=True)
    ]
    at = table.column_names.index("modified_ns")
    revised = path.replace(".parquet", ".0123456789abcdef.parquet")
    write_part(storage, revised, table.set_column(at, table.schema.field(at), [times]))
    generations.publish(storage, dataclasses.replace(manifest, listing=[revised, *manifest.listing[1:]]))
    assert sync() == Changes()
    assert "a/04.png" in images(storage)


def uploaded(storage, photos, **of):
    """Fold images in as a server does: by key, with the keys of the source's images, with their vectors."""
    manifest, known, own = generations.require_latest(storage), vectors(storage), images(storage)
    reader, files = opened(storage), [(photos / name).read_bytes() for name in of.values()]
    first = 1 + max(max(read_part(storage, path, ["id"]).column("id").to_pylist()) for path in manifest.listing)
    ids = np.arange(first, first + len(of))
    keys = [key.replace("__", "/") + ".png" for key in of]
    # An image that was added as a vector has no file.
    uris = [
        uri if "vector" not in key else "" for key, uri in zip(keys, uploaded_images.store(storage, files), strict=True)
    ]
    gone = np.array([own[key] for key in keys if key in own], np.int64)
    none = np.zeros(len(of), np.int64)
    new = fold.NewImages(
        ids, np.ones(len(of), np.bool_), keys, [""] * len(of),
        {name: np.stack([known[own[one]] for one in of.values()]) for name in reader.manifest.spaces},
        ["PNG"] * len(of), np.array([len(file) for file in files]), none, none, uris,
    )  # fmt: skip
    fold.fold(storage, manifest, fold.Changes(1, new, {"replaced": gone} if len(gone) else {}, {}, {}))


def test_uploaded_images_survive_sync_new_models_and_a_move(embed, sync, storage, photos, tmp_path):
    embed()
    uploaded(storage, photos, up__one="a/02.png", b__01="a/04.png", up__two="a/06.png", up__vector="a/08.png")
    before = images(storage)
    # The source has another image under one of the keys, which matters with --sync only.
    embed()
    assert images(storage) == before
    changes = sync()
    assert (changes.new, changes.changed, changes.renamed, changes.deleted) == (0, 1, 0, 0)
    after = images(storage)
    assert {key for key in after if after[key] != before[key]} == {"b/01.png"}
    assert sync() == Changes()
    # An image renamed in the source is renamed; an uploaded image with the same bytes is not.
    (photos / "a" / "02.png").rename(photos / "a" / "renamed.png")
    assert sync().renamed == 1
    assert images(storage)["up/one.png"] == before["up/one.png"]
    # A later model cannot embed an image that was added as a vector.
    assert embed(model="shufflenet_v2_x0_5").embedded == len(after) - 1
    assert opened(storage).space("shufflenet_v2_x0_5")[1].rows == len(after) - 1
    assert run_verify(storage, VerifySettings(deep=True), Silent()).damages == []
    moved = shutil.move(photos, tmp_path / "elsewhere")
    embed(source=str(moved), source_moved=True)
    (uri,) = [row["uri"] for row in opened(storage).images().to_pylist() if row["key"] == "up/two.png"]
    assert Path(uri).read_bytes() == (moved / "a" / "06.png").read_bytes()
    # Images that users deleted do not come back.
    delete(storage, keys=["up/two.png"])
    embed(source=str(moved))
    assert "up/two.png" not in images(storage)


def test_later_model_does_not_embed_deleted_images(embed, storage, photos):
    embed()
    delete(storage, keys=["a/04.png"])
    embed(model="shufflenet_v2_x0_5")
    assert opened(storage).space("shufflenet_v2_x0_5")[1].rows == 19
    assert_true(storage, photos)
