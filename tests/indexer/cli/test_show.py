from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.charts import layer_sheet
from lookalike_indexer.charts.sheet import sheet
from lookalike_indexer.cli.show import show
from lookalike_indexer.collection import generations


@pytest.fixture
def root(make_collection, publish_clustering, publish_predictions, clustered) -> str:
    storage = make_collection(clustered(12, 4, 3), labels=["cat", "dog", "cow"] * 4)
    publish_clustering(storage, [0, 1, 2] * 4)
    publish_clustering(storage, [0, 1, 1] * 4, name="two")
    publish_predictions(storage, [["tabby", "lynx"]] * 12)
    return str(storage.root)


def run(root: str, *arguments: object):
    return CliRunner().invoke(show, ["--collection", root, *map(str, arguments)])


def test_people_read_the_class_the_predictions_and_the_clusters(root: str):
    told = run(root, "00004.jpg")
    assert told.exit_code == 0, told.output
    assert "00004.jpg has the label dog." in told.output
    assert "tiny takes it for tabby (45%)." in told.output
    rows = [line.split() for line in told.output.splitlines()]
    assert ["tiny", "2", "lynx", "0.050"] in rows
    assert [row[:3] + row[4:] for row in rows if row[:1] == ["tiny/two"]] == [
        ["tiny/two", "1", "8", "cow", "0.500", "0.500"]
    ]


def test_montage_for_each_clustering(root: str, tmp_path):
    told = run(root, "00004.jpg", "--out", tmp_path / "out", "--members", 3, "--json")
    assert told.exit_code == 0, told.output
    assert len(json.loads(told.stdout)["tables"]["members"]) == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "agreement.png",
        "layers.png",
        "tiny-made.png",
        "tiny-two.png",
    ]


def test_layers_stand_below_each_other_and_poolings_side_by_side(
    make_collection, publish_space, publish_clustering, clustered, tmp_path, monkeypatch
):
    vectors = clustered(12, 4, 3)
    storage = make_collection(vectors, labels=["cat", "dog", "cow"] * 4)
    for name in ("tiny.conv2.avg", "tiny.conv2.max", "tiny.conv10.avg"):
        publish_space(storage, name, np.arange(12) * 3 + 1, vectors)
    manifest = generations.require_latest(storage)
    pooled = dataclasses.replace(manifest.spaces["tiny.conv2.max"], pooling="max")
    generations.publish(storage, dataclasses.replace(manifest, spaces={**manifest.spaces, "tiny.conv2.max": pooled}))
    for name in ("tiny", "tiny.conv2.avg", "tiny.conv2.max", "tiny.conv10.avg"):
        publish_clustering(storage, [0, 1, 2] * 4, space=name)
    drawn: list[Any] = []
    monkeypatch.setattr(
        layer_sheet, "sheet", lambda rows, heads, *_: drawn.append((rows, heads)) or sheet(rows, heads, *_)
    )
    told = run(str(storage.root), "00004.jpg", "00007.jpg", "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"00004.jpg-layers.png", "00007.jpg-layers.png", "00007.jpg-tiny.conv10.avg-made.png"} < names
    rows, heads = drawn[0]
    assert heads == ["avg pooling", "max pooling"]
    assert [row.before[0] for row in rows] == ["conv2", "conv10", "last features"]
    assert rows[0].notes == ["cluster 1, 4 images, purity 1.00 (dog)"] * 2
    assert rows[1].notes[1] == "not embedded"
    assert [len(tiles) for tiles in rows[1].groups] == [3, 0]


def test_only_stored_images_are_shown(root: str, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "new.png")
    told = run(root, tmp_path / "new.png")
    assert told.exit_code == 1
    assert "for other images, use lookalike explain" in told.output


def test_unknown_key_has_a_one_sentence_error(root: str):
    told = run(root, "none.jpg")
    assert (told.exit_code, "Traceback" in told.output) == (1, False)
    assert "has no image with key 'none.jpg'" in told.output
