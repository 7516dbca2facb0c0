"""`lookalike import --images`: imported vectors with the images of a source, without a network."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.import_vectors import import_vectors
from lookalike_indexer.cli.rejects import rejects
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.stored_network import stored_module
from lookalike_indexer.errors import WeightsError
from lookalike_indexer.imported import images
from lookalike_indexer.progress import Silent
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

KEYS = ["cat/0.png", "cat/1.png", "dog/2.png", "dog/3.png"]


@pytest.fixture
def photos(tmp_path):
    """Four images in two folders; image i is 20 + i pixels wide and 10 high."""
    for number, key in enumerate(KEYS):
        path = tmp_path / "photos" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 10), (60 * number, 9, 9)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def imported(tmp_path):
    """Import the rows of a unit matrix under some keys, in text or as JSON."""

    def run(keys, images, *options, text=False, code=0):
        np.save(tmp_path / "vectors.npy", np.eye(len(keys), 5, dtype=np.float32))
        name = "keys.csv" if keys[0].startswith("key,") else "keys.txt"
        (tmp_path / name).write_text("\n".join(keys))
        if name == "keys.csv":
            np.save(tmp_path / "vectors.npy", np.eye(len(keys) - 1, 5, dtype=np.float32))
        given = [tmp_path / "vectors.npy", "--keys", tmp_path / name, "--space", "mine", "--images", images,
                 "--collection", tmp_path / "made", *options]  # fmt: skip
        result = CliRunner().invoke(import_vectors, [*map(str, given), *([] if text else ["--json"])])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split()) if text or code else json.loads(result.stdout)

    return run


def opened(tmp_path):
    return CollectionReader.open(str(tmp_path / "made"))


def test_images_have_files_sizes_and_labels_and_each_its_own_vector(photos, imported, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "PART", 3)
    told = imported(KEYS[::-1], photos, "--metric", "l2")
    assert told == {
        "space": "mine", "images": 4, "dim": 5, "without": 0, "unmatched": 0, "rejected": 0, "unreadable": 0,
        "left_out": {}, "unreadable_folders": [], "index": "Flat", "metric": "l2", "generation": 1,
    }  # fmt: skip
    reader = opened(tmp_path)
    columns = ["key", "label", "width", "height", "format", "bytes", "sha256"]
    rows = reader.images(columns).to_pylist()
    assert [row["key"] for row in rows] == KEYS
    assert [row["label"] for row in rows] == ["cat", "cat", "dog", "dog"]
    assert [(row["width"], row["height"]) for row in rows] == [(20 + number, 10) for number in range(4)]
    assert [row["bytes"] for row in rows] == [(photos / key).stat().st_size for key in KEYS]
    assert all(row["format"] == "PNG" and len(row["sha256"]) == 64 for row in rows)
    assert np.array_equal(reader.vectors("mine", np.arange(4)), np.eye(4, 5)[::-1])
    assert len(reader.manifest.images) == 2
    assert run_verify(Storage(tmp_path / "made"), VerifySettings(images=4), Silent()).damages == []
    with pytest.raises(WeightsError, match="no network can embed images for them; search with vectors, keys or ids"):
        stored_module(reader, "mine")


def test_unmatched_keys_are_counted_and_reported(photos, imported, tmp_path):
    said = imported([KEYS[2], "bird/9.png", str(photos / KEYS[0])], photos, text=True)
    assert "mine: 2 vectors of 5 dimensions" in said
    assert "2 images have no vector, such as 'cat/1.png'" in said
    assert "1 vector has no image in the source, such as 'bird/9.png'" in said
    reader = opened(tmp_path)
    assert len(reader.images(["key"])) == 4
    # The third key is a path of the same image.
    assert reader.ids("mine").tolist() == [0, 2]
    assert np.array_equal(reader.vectors("mine", np.arange(2)), np.eye(3, 5)[[2, 0]])
    # Images without a vector are no damage.
    assert run_verify(Storage(tmp_path / "made"), VerifySettings(images=0), Silent()).damages == []


def test_remedy_of_damaged_vectors_is_to_import_them_again(photos, imported, tmp_path):
    imported(KEYS, photos)
    part = tmp_path / "made" / opened(tmp_path).space("mine")[1].parts[0]
    part.write_bytes(b"damaged")
    (damage, *_) = run_verify(Storage(tmp_path / "made"), VerifySettings(images=0), Silent()).damages
    command = f"lookalike import {tmp_path / 'vectors.npy'} --space mine --images {photos} --collection NEW_FOLDER"
    assert command in str(damage)


def test_unreadable_image_is_a_reject_with_its_reason(photos, imported, tmp_path):
    (photos / KEYS[1]).write_bytes(b"no picture")
    (photos / "readme.txt").write_text("hello")
    said = imported(KEYS, photos, text=True)
    assert "1 image of the source, 1 of them with a vector, cannot be read: lookalike rejects" in said
    assert "Left out of the source: 1 " in said
    reader = opened(tmp_path)
    assert reader.images(["key"]).column("key").to_pylist() == [KEYS[0], *KEYS[2:]]
    assert np.array_equal(reader.vectors("mine", np.arange(3)), np.eye(4, 5)[[0, 2, 3]])
    (row,) = json.loads(CliRunner().invoke(rejects, [str(tmp_path / "made"), "--json"]).stdout)["rejects"]
    assert (row["key"], row["kind"], row["model"]) == (KEYS[1], "damaged", "mine")


def test_no_matching_key_names_examples_and_creates_nothing(photos, imported, tmp_path):
    said = imported(["bird/9.png", "bird/8.png"], photos, code=2)
    assert "No key of the vectors names an image of" in said
    assert "the vectors have keys such as 'bird/9.png', and the source 'cat/0.png'" in said
    assert generations.numbers(Storage(tmp_path / "made")) == []
    for key in KEYS:
        (photos / key).write_bytes(b"no picture")
    assert "None of the source's files can be decoded (the first, cat/0.png" in imported(KEYS, photos, code=2)
    assert generations.numbers(Storage(tmp_path / "made")) == []


def test_collection_that_has_images_keeps_its_own(photos, imported, tmp_path):
    imported(KEYS, photos)
    said = imported(KEYS, photos, code=2)
    assert "has images already" in said
    assert "leave out --images" in said


def test_labels_of_the_keys_file_come_before_those_of_folders(photos, imported, tmp_path):
    imported(["key,label", f"{KEYS[0]},lynx", f"{KEYS[1]},", *(f"{key},wolf" for key in KEYS[2:])], photos)
    assert opened(tmp_path).images(["label"]).column("label").to_pylist() == ["lynx", "cat", "wolf", "wolf"]


def test_images_may_lie_in_an_archive(photos, imported, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for key in KEYS:
            tar.add(photos / key, key)
    imported(KEYS, tmp_path / "photos.tar")
    rows = opened(tmp_path).images(["label", "width"]).to_pylist()
    assert [(row["label"], row["width"]) for row in rows] == [("cat", 20), ("cat", 21), ("dog", 22), ("dog", 23)]


def test_killed_run_is_continued_and_gives_the_same_bytes(photos, imported, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "PART", 2)
    (photos / KEYS[1]).write_bytes(b"no picture")
    imported(KEYS, photos)
    whole = {path: entry.sha256 for path, entry in opened(tmp_path).manifest.files.items()}
    (tmp_path / "made").rename(tmp_path / "whole")
    decoded = images.described

    def killed(*arguments):
        for number, table in enumerate(decoded(*arguments)):
            if number == 1:
                raise KeyboardInterrupt
            yield table

    monkeypatch.setattr(images, "described", killed)
    with pytest.raises(AssertionError):
        imported(KEYS, photos)
    seen = []

    def counted(storage, source, parts, *others):
        seen.extend(parts)
        return decoded(storage, source, parts, *others)

    monkeypatch.setattr(images, "described", counted)
    imported(KEYS, photos)
    assert len(seen) == 1
    assert {path: entry.sha256 for path, entry in opened(tmp_path).manifest.files.items()} == whole
