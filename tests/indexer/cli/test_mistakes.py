from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.mistakes import mistakes
from lookalike_indexer.collection.spec import WeightsSpec


@pytest.fixture
def root(make_collection, publish_model) -> str:
    storage = make_collection(np.eye(3, dtype=np.float32), labels=["tench", "tench", "gnu"])
    publish_model(storage, "a", [[0, 5], [5, 0], [5, 6]])
    return str(storage.root)


def run(root: str, *arguments: object):
    return CliRunner().invoke(mistakes, ["--collection", root, "--model", "a", *map(str, arguments)])


def test_people_read_counts_mistakes_and_the_next_command(root: str):
    told = run(root)
    assert told.exit_code == 0, told.output
    assert "a is wrong about 1 of 2 images (50.0%)." in told.output
    assert "Left out: 1 image, because these labels name no class of a: gnu" in told.output
    (row,) = [line.split() for line in told.output.splitlines() if line.endswith("00004.jpg")]
    assert row == ["1", "tench", "electric", "ray", "0.500", "2", "00004.jpg"]
    assert f"Next: lookalike explain 00004.jpg --collection {root}" in told.output


def test_label_not_among_the_stored_classes_has_no_rank(make_collection, publish_model):
    storage = make_collection(np.eye(2, dtype=np.float32), labels=["tench", "tench"])
    publish_model(storage, "a", [[5, 6], [0, 5]])
    told = run(str(storage.root))
    (row,) = [line.split() for line in told.output.splitlines() if line.endswith(" 00001.jpg")]
    assert row == ["1", "tench", "electric", "ray", "0.500", "-", "00001.jpg"]


def test_charts_and_json_are_written(root: str, tmp_path):
    told = run(root, "--out", tmp_path / "out", "--json", "--keep", "today")
    assert told.exit_code == 0, told.output
    (line,) = json.loads(told.stdout)["tables"]["mistakes"]
    assert (line["key"], line["label"], line["class_index"]) == ("00004.jpg", "tench", 5)
    assert "Wrote confusion.csv, confusion.png, mistakes.png into" in told.stderr
    assert "Kept as mistakes/today" in told.stderr
    with (tmp_path / "out" / "confusion.csv").open(newline="") as file:
        cells = [(line["label"], line["class"], line["count"]) for line in csv.DictReader(file)]
    assert cells == [("tench", "tench", "1"), ("tench", "electric ray", "1")]


def test_model_without_mistakes_has_no_sheet(make_collection, publish_model, tmp_path):
    storage = make_collection(np.eye(2, dtype=np.float32), labels=["tench", "tench"])
    publish_model(storage, "a", [[0, 5], [0, 5]])
    told = run(str(storage.root), "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["confusion.csv", "confusion.png"]


def test_class_names_can_be_given_for_a_custom_network(make_collection, publish_model, tmp_path):
    storage = make_collection(np.eye(3, dtype=np.float32), labels=["cat", "cat", "dog"])
    publish_model(storage, "a", [[0, 5], [5, 0], [5, 6]], weights=WeightsSpec("file", "x", "1" * 64))
    bare = run(str(storage.root))
    assert bare.exit_code == 1
    assert "give the classes names by --class-names FILE" in bare.output
    names = tmp_path / "names.txt"
    names.write_text("\n".join({0: "cat", 5: "dog"}.get(number, f"thing {number}") for number in range(1000)))
    told = run(str(storage.root), "--class-names", names, "--keep", "named")
    assert told.exit_code == 0, told.output
    assert "It takes most often: cat for dog, 1." in told.output
    names.write_text("one\ntwo\n")
    short = run(str(storage.root), "--class-names", names)
    assert short.exit_code == 2
    assert "--class-names has 2 names, but no model" in short.output
