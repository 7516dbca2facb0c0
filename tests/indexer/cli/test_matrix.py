from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.matrix import matrix
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.view import View


@pytest.fixture
def root(make_collection, publish_clustering, clustered) -> str:
    storage = make_collection(clustered(12, 4, 3), labels=["cat", "dog", "cow"] * 4)
    publish_clustering(storage, [0, 1, 1] * 4)
    return str(storage.root)


def run(root: str, *arguments: object):
    return CliRunner().invoke(matrix, ["--collection", root, *map(str, arguments)])


def test_people_read_findings_and_tables(root: str):
    told = run(root)
    assert told.exit_code == 0, told.output
    assert "tiny/made: purity 0.667, NMI 0.734, ARI 0.522 over 12 images of 3 classes in 2 clusters." in told.output
    assert "Main clusters of several classes, 1 of 2: 1 (cow, dog)." in told.output
    assert ["cat", "4", "0", "1.000", "1"] in [line.split() for line in told.output.splitlines()]


def test_machines_and_the_collection_have_the_same_numbers(root: str):
    told = run(root, "--json", "--keep", "today")
    assert told.exit_code == 0, told.output
    data = json.loads(told.stdout)
    reader = CollectionReader.open(root)
    kept, made = stored_results.load(reader, "class_matrix/today"), class_matrix(View(reader))
    assert data["figures"] == dict(kept.figures) == dict(made.figures)
    assert data["tables"]["counts"] == kept.tables["counts"].to_pylist() == made.tables["counts"].to_pylist()
    assert "Kept as class_matrix/today in generation 3." in told.stderr


def test_charts_are_drawn(root: str, tmp_path):
    told = run(root, "--out", tmp_path / "out", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["kind"] == "class_matrix"
    assert "Wrote matrix.png, clusters.png, classes.png into" in told.stderr
    assert all((tmp_path / "out" / f"{name}.png").stat().st_size > 5000 for name in ("matrix", "clusters", "classes"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--clustering", "tiny/none"], 1, "no clustering 'tiny/none'; it has: tiny/made"),
        (["--keep", "a/b"], 2, "cannot be the name of a result"),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(root: str, arguments, code: int, message: str):
    told = run(root, *arguments)
    assert (told.exit_code, "Traceback" in told.output) == (code, False)
    assert message in " ".join(told.output.split())
