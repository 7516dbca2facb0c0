"""A collection that is changed while served, folded, and then indexed again, by the commands that users run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.conftest import serve_collection

import lookalike as lookalike_client
from lookalike_indexer.collection.reader import CollectionReader

pytestmark = [pytest.mark.xdist_group("living collection"), pytest.mark.slow, pytest.mark.timeout(600)]

Run = Callable[..., subprocess.CompletedProcess[str]]


def whole(client: lookalike_client.Client) -> None:
    """Check that added images are like all others: equal images have equal thumbnails, vectors and classes."""
    equal = ["added/blue.png", "blue/03.png"]
    ids = [client.lookup(key=key).id for key in equal]
    added, indexed = client.thumbnails(ids, size=32)
    assert added
    assert added == indexed
    vectors = client.vectors(keys=equal)
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-4)
    every = [image.key for image in client.images(where="probability('squeezenet1_1') > 0")]
    assert set(equal) <= set(every)
    # The classes of an untrained network are almost equally probable: its first class identifies equal images.
    some = [image.key for image in client.images(where="probability('squeezenet1_1') > 0.5")]
    assert ("added/blue.png" in some) == ("blue/03.png" in some)


def test_changes_by_image_survive_a_restart_a_fold_and_indexing_again(
    collection: Path, pictures: Path, tmp_path: Path, lookalike: Run
) -> None:
    folder = tmp_path / "living"
    shutil.copytree(collection, folder)
    blue, red = pictures / "blue" / "03.png", pictures / "red" / "05.png"
    with serve_collection(folder, "--writable") as address, lookalike_client.Client(address, timeout=120) as client:
        images = {"added/blue.png": blue, "added/bad.jpg": b"no picture", "red/05.png": blue.read_bytes()}
        done = client.upsert(images=images, labels={"added/blue.png": "sea"})
        assert list(done.rejects) == ["added/bad.jpg"]
        assert done.replaced == 1
        near = client.search(image=blue, k=3, after=done)
        assert set(near.keys) == {"added/blue.png", "red/05.png", "blue/03.png"}
        assert near.distances[-1] == pytest.approx(0, abs=1e-3)
        assert client.delete(keys=["violet/00.png", "violet/01.png"]).deleted == 2
        client.set(keys=["violet/02.png"], label="purple")
        whole(client)
        size = client.lookup(key="added/blue.png")
        assert (size.width, size.height) == (80, 64)
        told = lookalike("info", "--server", address)
        assert "changes taken, 3 so far: 2 images added and 3 deleted" in told.stdout
        before = {image.key: (image.id, image.label) for image in client.images()}
    with serve_collection(folder, "--writable") as address, lookalike_client.Client(address, timeout=120) as client:
        assert {image.key: (image.id, image.label) for image in client.images()} == before
        folded = client.fold()
        assert {image.key: (image.id, image.label) for image in client.images()} == before
        assert client.info().generation == folded.generation
        whole(client)
        members = client.clusters(key="added/blue.png", members=50)[0].nearest
        assert "added/blue.png" in members.keys
    options = ["--model", "squeezenet1_1", "--weights", "untrained:3", "--clusters", "5", "--part-size", "16"]
    reader = CollectionReader.open(str(folder))
    names = dict(zip(*reader.images(["id", "key"]).to_pydict().values(), strict=True))
    table = reader.predictions("squeezenet1_1").to_pylist()
    classes = {names[row["id"]]: (row["class_index"], row["class_name"]) for row in table if row["id"] in names}
    assert classes["added/blue.png"] == classes["blue/03.png"] == classes["red/05.png"]
    again = lookalike("index", pictures, "--collection", folder, *options, timeout=300)
    assert again.returncode == 0, again.stderr
    verified = lookalike("verify", folder, "--deep", timeout=300)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    # Two keys have the same image, which is embedded again for the comparison.
    assert "1 image" in verified.stdout
    with serve_collection(folder, "--writable") as address, lookalike_client.Client(address, timeout=120) as client:
        assert {image.key: (image.id, image.label) for image in client.images()} == before
        near = client.search(image=red, k=60)
        assert "red/05.png" not in near.keys[:2]
        # New ids follow all ids that were ever given.
        done = client.upsert(images={"one more": red})
        assert int(done.ids[0]) > max(image_id for image_id, _ in before.values())
