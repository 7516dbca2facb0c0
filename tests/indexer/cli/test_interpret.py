from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.interpret import interpret


@pytest.fixture
def root(make_collection, publish_clustering, clustered) -> str:
    storage = make_collection(clustered(12, 4, 3), labels=["cat", "dog", "cow"] * 4)
    publish_clustering(storage, [0, 1, 1] * 4)
    return str(storage.root)


def run(root: str, *arguments: object):
    return CliRunner().invoke(interpret, ["--collection", root, *map(str, arguments)])


def test_people_read_names(root: str):
    told = run(root)
    assert told.exit_code == 0, told.output
    rows = [line.split() for line in told.output.splitlines()]
    assert ["0", "4", "cat", "1.000", "3.000"] in rows
    assert ["1", "8", "cow", "0.500", "1.500"] in rows


def test_json_keep_and_sheets(root: str, tmp_path):
    told = run(root, "--json", "--keep", "now", "--out", tmp_path / "out", "--samples", 2)
    assert told.exit_code == 0, told.output
    assert len(json.loads(told.stdout)["tables"]["samples"]) == 2 * 3 * 2
    assert "Wrote interpret-01.png" in told.stderr
    assert "Kept as interpret_clusters/now" in told.stderr


def test_invalid_arguments_are_reported_in_one_sentence(root: str):
    told = run(root, "--clustering", "tiny/none")
    assert (told.exit_code, "Traceback" in told.output) == (1, False)
    assert "no clustering 'tiny/none'; it has: tiny/made" in " ".join(told.output.split())
