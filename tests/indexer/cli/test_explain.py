from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.explain import explain
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.stage import run_cluster
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.embedding.stage import run_embed
from lookalike_indexer.progress import Silent


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight small pictures, in the folders a and b, of a network without training."""
    folder = tmp_path_factory.mktemp("explained")
    random = np.random.default_rng(0)
    for number in range(8):
        path = folder / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8)).resize((60, 50)).save(path)
    storage = Storage(folder / "collection")
    settings = EmbedSettings(str(folder / "photos"), model="squeezenet1_1", weights="untrained:1", workers=1)
    draft, _ = run_embed(storage, None, settings, Silent())
    draft, _ = run_cluster(storage, draft, ClusterSettings(clusters=2, restarts=1), Silent())
    generations.publish(storage, draft)
    return str(storage.root)


def run(collection: str, *arguments: object) -> str:
    done = CliRunner().invoke(explain, ["--collection", collection, *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_json_and_text_tell_the_same(collection, tmp_path: Path):
    (tmp_path / "map.csv").write_text("label,class\na,0\nb,1\n")
    options = ["a/0.png", "-k", 3, "--class-map", tmp_path / "map.csv"]
    found = json.loads(run(collection, *options, "--json"))
    text = run(collection, *options)
    assert found["findings"][0] in text
    nearest = [line for line in found["tables"]["nearest"] if line["group"] == "own"]
    assert sorted(line["key"] for line in nearest) == ["a/2.png", "a/4.png", "a/6.png"]
    for line in nearest:
        assert f"{line['distance']:.3f}" in text
    assert [line["rank"] for line in found["tables"]["predictions"]] == [1, 2, 3, 4, 5]


def test_one_picture_has_the_attributions_and_the_neighbours(collection, tmp_path: Path):
    plain = run(collection, "b/1.png", "-k", 2, "--out", tmp_path / "plain")
    assert "explain-b-1.png.png" in plain
    run(collection, "b/1.png", "-k", 2, "--cam", "--gbp", "--out", tmp_path / "drawn")
    sheets = [pixels(tmp_path / name / "explain-b-1.png.png") for name in ("plain", "drawn")]
    assert sheets[0].shape == sheets[1].shape
    # Beside the image, 160 pixels wide, there are two tiles more; below it the same neighbours.
    changed = (sheets[0] != sheets[1]).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert columns.min() >= 176
    assert 480 < columns.max() <= 16 + 3 * 170
    assert len(rows) <= 160 + 4 + 2 * 16
    assert changed.sum() > 2 * 160 * 160 * 0.7


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_mistakes_are_one_sentence(collection, tmp_path: Path):
    def refused(*arguments: str) -> str:
        done = CliRunner().invoke(explain, ["--collection", collection, *arguments])
        assert done.exit_code in (1, 2)
        assert "Traceback" not in done.output
        return done.output

    assert "say where to with --out DIR" in refused("a/0.png", "--cam")
    assert "has no image with key 'c/9.png'" in refused("c/9.png")
    assert "has no space 'resnet9'" in refused("a/0.png", "--space", "resnet9")
    assert "none.csv cannot be read: No such file" in refused("a/0.png", "--class-map", str(tmp_path / "none.csv"))
