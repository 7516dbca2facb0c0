from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.split import split


@pytest.fixture
def root(make_collection, clustered) -> str:
    return str(make_collection(clustered(24, 4, 3), labels=["dog", "dog", "cat"] * 8).root)


def run(root: str, *arguments: object):
    return CliRunner().invoke(split, ["--collection", root, *map(str, arguments)])


def test_auto_and_a_number(root: str):
    told = run(root, "dog")
    assert told.exit_code == 0, told.output
    assert "dog in tiny: 2 sub-clusters (chosen as the k with the highest silhouette) of 8, 8 images." in told.output
    asked = run(root, "dog", "-k", 3, "--json")
    assert json.loads(asked.stdout)["figures"]["k"] == 3


def test_montages_are_named_after_the_class(root: str, tmp_path):
    told = run(root, "dog", "-k", 2, "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert "Wrote dog-0.png, dog-1.png into" in told.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["dog", "-k", "many"], 2, "'many' is not a valid integer"),
        (["dog", "-k", "17"], 2, "the label dog has only 16 images"),
        (["cow"], 1, "has the label 'cow'; it has cat, dog."),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(root: str, arguments, code: int, message: str):
    told = run(root, *arguments)
    assert (told.exit_code, "Traceback" in told.output) == (code, False)
    assert message in " ".join(told.output.split())
