"""The commands on an object store: the same bytes as in a folder, and the same output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import lookalike
from lookalike.cli import main
from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.reader import CollectionReader

pytestmark = pytest.mark.xdist_group("object store")

OPTIONS = ["--model", "squeezenet1_1", "--weights", "untrained:3", "--clusters", "2", "--part-size", "4"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two folders of four images, a file that is no image, a hidden file, and an image without a suffix."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(3)
    for label in ("cats", "dogs"):
        (folder / label).mkdir()
        for number in range(4):
            pixels = random.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    (folder / "dogs" / "3.png").rename(folder / "dogs" / "noext")
    (folder / "cats.txt").write_text("no image")
    (folder / "cats" / ".hidden.png").write_bytes(b"hidden")
    (folder / "cats" / "broken.png").write_bytes(b"broken")
    return folder


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process; return its output."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["lookalike", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code in (0, None), said.out + said.err
        return said.out + said.err

    return command


def upload(folder, url):
    storage = open_storage(url)
    for path in folder.rglob("*"):
        if path.is_file():
            storage.store_location.store.put(storage.store_location.path(str(path.relative_to(folder))), path)


def manifest(location):
    storage = open_storage(location)
    return storage.read(layout.generation(generations.numbers(storage)[-1]))


def test_collection_on_a_store_has_the_bytes_of_one_in_a_folder(run, pictures, bucket, tmp_path):
    run("index", pictures, "--collection", tmp_path / "collection", *OPTIONS)
    said = run("index", pictures, "--collection", f"{bucket}/collection", *OPTIONS)
    assert f"lookalike serve {bucket}/collection" in said
    assert manifest(f"{bucket}/collection") == manifest(tmp_path / "collection")
    assert f"{bucket}/collection is as it was written" in run("verify", f"{bucket}/collection", "--deep")
    run("cluster", f"{bucket}/collection", "--clusters", "3")
    assert "removed 1 generation" in run("gc", f"{bucket}/collection", "--keep", "1")
    assert "V-measure" in run("matrix", "--collection", f"{bucket}/collection")
    assert not [name for name in os.listdir() if name.startswith("s3:")]


def test_images_in_a_store_are_indexed_like_a_folder_and_served(run, pictures, bucket, environment, tmp_path):
    upload(pictures, f"{bucket}/pictures")
    run("index", pictures, "--collection", tmp_path / "collection", *OPTIONS)
    said = run("index", f"{bucket}/pictures", "--collection", f"{bucket}/collection", *OPTIONS)
    assert "1 could not be embedded" in said
    here, there = (CollectionReader.open(str(one)) for one in (tmp_path / "collection", f"{bucket}/collection"))
    for column in ("key", "label", "sha256"):
        assert here.images([column]).equals(there.images([column]))
    assert there.images().column("uri")[0].as_py() == f"{bucket}/pictures/cats/0.png"
    assert {path for path in here.manifest.files if path.startswith("embeddings/")} == {
        path
        for path, file in there.manifest.files.items()
        if path.startswith("embeddings/") and file == here.manifest.files[path]
    }
    assert "Embedded 0 images" in run("index", f"{bucket}/pictures", "--collection", f"{bucket}/collection")
    texts = [open_storage(f"{bucket}/collection").read(path) for path in there.storage.walk() if path.endswith("json")]
    assert not any(environment["AWS_SECRET_ACCESS_KEY"].encode() in text for text in texts)
    command = [
        sys.executable,
        "-m",
        "lookalike",
        "serve",
        f"{bucket}/collection",
        "--port",
        "0",
        "--cache",
        tmp_path / "c",
    ]
    server = subprocess.Popen([str(one) for one in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        address = re.search(r"127\.0\.0\.1:\d+", line)
        assert address, line + server.stderr.read()
        with lookalike.Client(address.group()) as client:
            found = client.search(key="dogs/0.png", k=3)
            assert len(found) == 3
            with open_storage(bucket).local("pictures/dogs/0.png").open("rb") as picture:
                assert client.search(image=picture, k=1)[0].key == "dogs/0.png"
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=120)
    assert any(path.is_file() for path in (tmp_path / "c").rglob("*"))
