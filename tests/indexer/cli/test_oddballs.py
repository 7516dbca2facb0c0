from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.oddballs import oddballs


@pytest.fixture
def root(make_collection, publish_clustering) -> str:
    places = np.array([0, 1, 2, 1, 10, 11, 12, 11, 11], np.float32)
    vectors = np.stack([places, np.zeros(9, np.float32)], axis=1)
    storage = make_collection(vectors, labels=["cat"] * 4 + ["dog"] * 4 + ["cat"])
    publish_clustering(storage, [0] * 4 + [1] * 5)
    return str(storage.root)


def run(root: str, *arguments: object):
    return CliRunner().invoke(oddballs, ["--collection", root, *map(str, arguments)])


def test_text_names_odd_images_and_similar_labels(root: str):
    told = run(root)
    assert told.exit_code == 0, told.output
    assert "1 of 9 labeled images are odd in tiny/made. Outside the clusters of their class: 1; " in told.output
    # A single image shows no tendency.
    assert "the most look" not in told.output
    rows = [line.split() for line in told.output.splitlines()]
    (row,) = [row for row in rows if row[:2] == ["1", "00025.jpg"]]
    assert row[:7] == ["1", "00025.jpg", "cat", "dog", "outside,", "far,", "nearer"]
    assert row[7] == "-1.000"
    assert "distance (Euclidean)  other_distance (Euclidean)" in told.output
    assert "UNTRAINED weights: tiny" in told.output


def test_json_and_a_montage(root: str, tmp_path):
    told = run(root, "--method", "clusters", "--label", "cat", "--json", "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    (line,) = json.loads(told.stdout)["tables"]["oddballs"]
    assert (line["key"], line["other_distance"]) == ("00025.jpg", None)
    assert (tmp_path / "out" / "oddballs.png").stat().st_size > 3000
    # The images of this collection have no files.
    assert "None of the 4 images can be read from" in told.stderr
    assert f"lookalike relocate {root} FOLDER" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["--label", "cow"], 1, "has the label 'cow'; it has cat, dog."), (["--limit", 0], 2, "0 is not in the range")],
)
def test_invalid_arguments_are_reported_in_one_sentence(root: str, arguments, code: int, message: str):
    told = run(root, *arguments)
    assert (told.exit_code, "Traceback" in told.output) == (code, False)
    assert message in " ".join(told.output.split())
