"""From a folder of images to a collection, a server and a client's queries, as in the README."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import lookalike as lookalike_client

pytestmark = pytest.mark.xdist_group("e2e")
Run = Callable[..., CompletedProcess[str]]


def stored(collection: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return ids, embeddings and keys, read with plain pyarrow."""
    table = pq.read_table(collection / "embeddings" / "squeezenet1_1")
    images = pq.read_table(collection / "images").sort_by("id")
    order = np.argsort(table.column("id").to_numpy())
    vectors = np.stack(table.column("embedding").to_numpy())[order]
    assert table.column("id").to_numpy()[order].tolist() == images.column("id").to_pylist()
    return images.column("id").to_numpy(), vectors, images.column("key").to_pylist()


def test_valid_images_are_embedded_and_the_broken_one_is_rejected(collection: Path) -> None:
    ids, vectors, keys = stored(collection)
    assert len(ids) == 60
    assert vectors.shape == (60, 512)
    assert np.isfinite(vectors).all()
    assert "blue/broken.jpg" not in keys
    rejects = pq.read_table(collection / "rejects" / "squeezenet1_1").to_pylist()
    assert [row["key"] for row in rejects] == ["blue/broken.jpg"]
    assert rejects[0]["reason"]


def test_exact_search_is_numpy_brute_force(collection: Path, address: str) -> None:
    ids, vectors, _ = stored(collection)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - unit.astype(np.float64) @ unit.T.astype(np.float64)
    with lookalike_client.Client(address, timeout=120) as client:
        found = client.search(vectors=vectors, k=7, exact=True)
    for row, one in enumerate(found):
        order = np.lexsort((ids, distances[row]))[:7]
        assert np.allclose(one.distances, distances[row][order], atol=2e-6)
        # If two distances are almost equal, either order is correct.
        assert all(
            abs(distances[row][np.flatnonzero(ids == id_)[0]] - d) < 2e-6
            for id_, d in zip(one.ids, one.distances, strict=True)
        )


def test_neighbors_share_the_hue(address: str) -> None:
    with lookalike_client.Client(address, timeout=120) as client:
        near = client.search(key="green/03.png", k=5)
    assert "green/03.png" not in near.keys
    assert list(near.labels).count("green") >= 4
    assert near.served.pretrained is False


def test_stored_image_sent_as_a_file_finds_itself(pictures: Path, address: str) -> None:
    with lookalike_client.Client(address, timeout=120) as client:
        near = client.search(image=pictures / "red" / "05.png", k=1)
    assert list(near.keys) == ["red/05.png"]
    assert near.distances[0] < 1e-3


def test_copy_of_a_stored_image_has_the_same_clusters(pictures: Path, address: str) -> None:
    with lookalike_client.Client(address, timeout=120) as client:
        stored_home = client.clusters(key="violet/00.png")
        new_home = client.clusters(image=pictures / "violet" / "00.png")
    assert [home.clustering for home in stored_home] == ["squeezenet1_1/k5"]
    assert new_home[0].cluster == stored_home[0].cluster
    assert new_home[0].distance == pytest.approx(stored_home[0].distance, abs=1e-2)
    assert stored_home[0].size >= 1


def test_command_line_equals_the_client(address: str, lookalike: Run, tmp_path: Path) -> None:
    montage = tmp_path / "near.png"
    done = lookalike("search", "blue/02.png", "-k", 4, "--server", address, "--json", "--montage", montage)
    assert done.returncode == 0, done.stderr
    near = json.loads(done.stdout)
    with lookalike_client.Client(address, timeout=120) as client:
        assert [one["key"] for one in near["neighbors"]] == list(client.search(key="blue/02.png", k=4).keys)
    with Image.open(io.BytesIO(montage.read_bytes())) as picture:
        assert min(picture.size) > 100
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 500


def test_info_of_the_folder_and_of_the_server_agree(collection: Path, address: str, lookalike: Run) -> None:
    folder = json.loads(lookalike("info", collection, "--json").stdout)
    server = json.loads(lookalike("info", "--server", address, "--json").stdout)
    for name in ("name", "generation", "images", "rejects", "labels", "default_space"):
        assert folder[name] == server[name], name
    assert folder["spaces"][0]["fingerprint"] == server["spaces"][0]["fingerprint"]
    assert folder["images"] == 60
    assert folder["rejects"] == 1
    assert folder["labels"] == 5


@pytest.mark.parametrize("library", ["duckdb", "pandas"])
def test_parquet_is_readable_by_others(collection: Path, library: str) -> None:
    if library == "duckdb":
        import duckdb

        query = (
            f"select label, count(*) from '{collection}/images/*.parquet' "
            f"join '{collection}/embeddings/squeezenet1_1/*.parquet' using (id) "
            "where len(embedding) = 512 group by label"
        )
        counts = dict(duckdb.sql(query).fetchall())
    else:
        import pandas as pd

        images = pd.read_parquet(collection / "images")
        embeddings = pd.read_parquet(collection / "embeddings" / "squeezenet1_1")
        counts = images.merge(embeddings, on="id").groupby("label").size().to_dict()
    assert counts == dict.fromkeys(["blue", "green", "red", "violet", "yellow"], 12)


def test_indexing_again_changes_nothing_and_new_images_alone_are_embedded(
    pictures: Path, tmp_path: Path, lookalike: Run, typed: Run
) -> None:
    import shutil

    source = tmp_path / "source"
    shutil.copytree(pictures, source)
    options = [
        "--collection",
        tmp_path / "c",
        "--model",
        "squeezenet1_1",
        "--weights",
        "untrained:3",
        "--clusters",
        3,
        "--json",
    ]
    first = json.loads(lookalike("index", source, *options).stdout)
    again = json.loads(typed("index", source, *options).stdout)
    assert (first["embed"]["embedded"], again["embed"]["embedded"]) == (60, 0)
    assert first["generation"] == again["generation"] == 1
    shutil.copy(source / "red" / "00.png", source / "red" / "extra.png")
    before = {path: path.read_bytes() for path in (tmp_path / "c").rglob("part-000000.parquet")}
    third = json.loads(typed("index", source, *options).stdout)
    assert third["embed"]["embedded"] == 1
    assert third["generation"] == 2
    assert all(path.read_bytes() == data for path, data in before.items())


def test_running_server_takes_up_a_new_generation(pictures: Path, tmp_path: Path, typed: Run, serve) -> None:
    import shutil
    import time

    source = tmp_path / "source"
    shutil.copytree(pictures / "red", source / "red")
    options = ["--collection", tmp_path / "c", "--model", "squeezenet1_1", "--weights", "untrained:3", "--clusters", 2]
    assert typed("index", source, *options).returncode == 0
    with serve(tmp_path / "c") as address, lookalike_client.Client(address, timeout=120) as client:
        assert client.search(key="red/00.png", k=3).served.generation == 1
        shutil.copytree(pictures / "blue", source / "blue")
        assert typed("index", source, *options).returncode == 0
        deadline = time.monotonic() + 120
        while client.search(key="red/00.png", k=3).served.generation == 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        near = client.search(key="blue/00.png", k=3)
        assert near.served.generation == 2
