from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.explain import explain
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.errors import WeightsError
from lookalike_indexer.progress import Silent

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("explain")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight small images, in the folders a and b, of an untrained network."""
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


def test_one_image_has_the_attributions_and_the_neighbors(collection, tmp_path: Path):
    plain = run(collection, "b/1.png", "-k", 2, "--out", tmp_path / "plain")
    assert "explain-b-1.png.png" in plain
    run(collection, "b/1.png", "-k", 2, "--cam", "--gbp", "--out", tmp_path / "drawn")
    sheets = [pixels(tmp_path / name / "explain-b-1.png.png") for name in ("plain", "drawn")]
    assert sheets[0].shape == sheets[1].shape
    # Beside the image, 160 pixels wide, there are two more tiles; below it the same neighbors.
    changed = (sheets[0] != sheets[1]).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert columns.min() >= 176
    assert 480 < columns.max() <= 16 + 3 * 170
    assert len(rows) <= 160 + 4 + 2 * 16
    assert changed.sum() > 2 * 160 * 160 * 0.7


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_several_images_are_one_table(collection, tmp_path: Path):
    """The folder comes first, then stored images by key or by file, attributions, and an image that is not stored."""
    photos = Path(collection).parent / "photos"
    new = tmp_path / "new.png"
    with Image.open(photos / "a" / "0.png") as picture:
        picture.rotate(90).save(new)
    (tmp_path / "map.csv").write_text("label,class\na,0\nb,1\n")
    options = [collection, "a/0.png", photos / "b" / "1.png", new, "--class-map", tmp_path / "map.csv"]
    done = CliRunner().invoke(explain, [*map(str, options), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["settings"]["key"] for one in found["images"]] == ["a/0.png", "b/1.png", str(new)]
    assert found["images"][0]["settings"]["label"] == "a"
    lines = [line for line in found["table"] if line["is_first"]]
    assert [line["key"] for line in lines] == ["a/0.png", "b/1.png", str(new)]
    for line, one in zip(lines, found["images"], strict=True):
        first = one["tables"]["predictions"][0]
        assert (line["class_index"], line["probability"]) == (first["class_index"], first["probability"])
    names = ["explain-a-0.png.png", "explain-b-1.png.png", "explain-new.png.png", "explain.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    # Below the header there is a row of 160 pixels for each class of each image.
    assert pixels(tmp_path / "out" / "explain.png").shape[0] > 160 * len(found["table"])
    text = CliRunner().invoke(explain, list(map(str, options))).output
    for line in found["table"]:
        assert line["class"] in text


def test_images_are_drawn_by_chance_and_the_seed_decides(collection):
    def drawn(*options: object) -> list[str]:
        found = json.loads(run(collection, "--random", 3, *options, "--json"))
        return [one["settings"]["key"] for one in found["images"]]

    assert len(set(drawn())) == 3
    assert drawn() == drawn()
    assert any(drawn() != drawn("--seed", seed) for seed in range(3))
    assert len(drawn("b/1.png", "--random", 50)) == 8


def test_without_the_weights_the_table_lacks_attributions_and_explains_why(collection, tmp_path: Path, monkeypatch):
    def refuse(*_: object) -> None:
        raise WeightsError("The weights are gone; give --weights FILE.")

    monkeypatch.setattr("lookalike_indexer.attribution.opened.stored_module", refuse)
    done = CliRunner().invoke(explain, ["a/0.png", "--collection", collection, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Attributions were not drawn: The weights are gone" in done.stderr
    assert (tmp_path / "out" / "explain.png").is_file()
    asked = CliRunner().invoke(explain, ["a/0.png", "--collection", collection, "--out", str(tmp_path / "o"), "--cam"])
    assert asked.exit_code == 1
    assert "The weights are gone; give --weights FILE." in asked.stderr


def test_invalid_arguments_are_reported_in_one_sentence(collection, tmp_path: Path):
    def refused(*arguments: str) -> str:
        done = CliRunner().invoke(explain, ["--collection", collection, *arguments])
        assert done.exit_code in (1, 2)
        assert "Traceback" not in done.output
        return done.output

    assert "draw charts; add --out DIR" in refused("a/0.png", "--cam")
    assert "has no image with key 'c/9.png'" in refused("c/9.png")
    assert "has no space 'resnet9'" in refused("a/0.png", "--space", "resnet9")
    assert "There is no file of that name, either." in refused("c/9.png")
    (tmp_path / "text.jpg").write_text("no image")
    assert "text.jpg cannot be read as an image" in refused(str(tmp_path / "text.jpg"))
    assert "is a folder; name an image file" in refused(str(tmp_path))
    assert "Name at least one image" in refused()
    assert "none.csv cannot be read: No such file" in refused("a/0.png", "--class-map", str(tmp_path / "none.csv"))
