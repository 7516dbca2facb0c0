from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.show import show


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


def test_a_montage_for_each_clustering(root: str, tmp_path):
    told = run(root, "00004.jpg", "--out", tmp_path / "out", "--members", 3, "--json")
    assert told.exit_code == 0, told.output
    assert len(json.loads(told.stdout)["tables"]["members"]) == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "agreement.png",
        "tiny-made.png",
        "tiny-two.png",
    ]


def test_an_unknown_key_is_one_sentence(root: str):
    told = run(root, "none.jpg")
    assert (told.exit_code, "Traceback" in told.output) == (1, False)
    assert "has no image with key 'none.jpg'" in told.output
