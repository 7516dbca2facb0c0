from __future__ import annotations

import json

import numpy as np
import pytest

from lookalike.cli._run import run


@pytest.fixture
def cli(make_collection, capsys, monkeypatch):
    """Run a command line on a collection of three cats and two dogs: gives the exit code, output and errors."""
    storage = make_collection(np.eye(5, dtype=np.float32), labels=["cat", "dog", "cat", "dog", "cat"], part_rows=2)
    monkeypatch.setenv("LOOKALIKE_COLLECTION", str(storage.root))

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_folder_tells_the_images_of_a_label(cli):
    code, out, err = cli("images", "--label", "cat", "--limit", 2)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[:3]] == [
        ["id", "label", "size", "key"],
        ["1", "cat", "64", "x", "64", "00001.jpg"],
        ["7", "cat", "64", "x", "64", "00007.jpg"],
    ]
    assert out.splitlines()[3] == "... and 1 more of 3; --limit lists them."


def test_machines_get_the_same_columns_as_from_a_server(cli):
    found = json.loads(cli("images", "--json")[1])
    assert (found["label"], found["total"]) == (None, 5)
    assert list(found["images"][0]) == ["id", "key", "label", "uri", "width", "height"]


def test_an_unknown_label_is_named(cli):
    code, _, err = cli("images", "--label", "iceberg")
    assert code == 1
    assert err == "Error: No image of the collection collection has the label 'iceberg'; it has cat, dog.\n"
