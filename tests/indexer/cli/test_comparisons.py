"""The commands classes, choose-k, dendrogram, compare and map."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.choose_k import choose_k
from lookalike_indexer.cli.classes import classes
from lookalike_indexer.cli.compare import compare
from lookalike_indexer.cli.dendrogram import dendrogram
from lookalike_indexer.cli.map2d import categories, map2d
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.view import View

COMMANDS = {"classes": classes, "choose-k": choose_k, "dendrogram": dendrogram, "compare": compare, "map": map2d}
TENCH, GOLDFISH, SHARK = 0, 1, 2


@pytest.fixture
def root(make_collection, publish_clustering, publish_model, clustered) -> str:
    """24 images of three labels in three groups, a clustering, and a model "a" that predicts each label as a class."""
    storage = make_collection(clustered(24, 8, 3, spread=0.05), labels=["tench", "goldfish", "great_white_shark"] * 8)
    publish_clustering(storage, [0, 1, 2] * 8)
    publish_model(storage, "a", [[TENCH, 5], [GOLDFISH, 5], [SHARK, 5]] * 7 + [[5, 6]] * 3)
    return str(storage.root)


def run(root: str, command: str, *arguments: object):
    return CliRunner().invoke(COMMANDS[command], ["--collection", root, *map(str, arguments)])


def rows(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def test_classes_are_reported_with_their_matches(root: str, tmp_path: Path):
    told = run(root, "classes", "--models", "a", "--best", "1", "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert "a: top-1 0.875, top-5 0.875 over 24 images of 3 labels." in told.output
    assert ["tench", "a", "tench", "same", "name", "8", "0.875", "0.875"] in rows(told.output)
    assert "but for case and punctuation" in told.output
    assert (tmp_path / "out" / "accuracies.png").stat().st_size > 5000
    (tmp_path / "map.csv").write_text("label,class\ntench,5\n")
    mapped = json.loads(run(root, "classes", "--class-map", tmp_path / "map.csv", "--json").stdout)
    assert mapped["tables"]["accuracies"][2] == {
        "label": "tench", "model": "a", "class": "electric ray", "rule": "class map", "images": 8,
        "top1": 0.125, "top5": 1.0,
    }  # fmt: skip


def test_number_of_clusters_is_recommended(root: str, tmp_path: Path):
    told = run(root, "choose-k", "--to", 6, "--keep", "k", "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert "3 clusters of tiny are recommended" in told.output
    assert [line[0] for line in rows(told.output) if line and line[0].isdecimal()][-5:] == ["2", "3", "4", "5", "6"]
    assert stored_results.load(CollectionReader.open(root), "choose_k/k").figures["recommended"] == 3
    assert (tmp_path / "out" / "choose-k.png").stat().st_size > 5000


def test_tree_is_drawn_from_word_vectors(root: str, tmp_path: Path):
    words = tmp_path / "words.txt"
    words.write_text("tench 1 0\ngoldfish 1 0.1\nshark -1 0\nray 0 1\n")
    told = run(root, "dendrogram", "--model", "a", "--word-vectors", words, "--clusters", 2, "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert "4 classes that a puts first make 2 groups (as requested)." in told.output
    assert (tmp_path / "out" / "dendrogram.png").stat().st_size > 5000


def test_comparison_shows_costs_and_keeps_none(root: str, tmp_path: Path):
    told = run(root, "compare", "--strategies", "kmeans,bisecting", "--keep", "c", "--out", tmp_path / "out")
    assert told.exit_code == 0, told.output
    assert ["seconds", "MiB"] in [line[-2:] for line in rows(told.output)]
    kept = stored_results.load(CollectionReader.open(root), "compare/c")
    assert list(kept.tables) == ["scores"]
    assert kept.tables["scores"].column("ari").to_pylist() == [1.0, 1.0, 1.0]
    assert kept.tables["scores"].column("stored").to_pylist() == ["", "", "tiny/made"]
    assert "Stored: tiny/made, kmeans into 3 clusters, ARI 1.000." in told.output
    assert "kmeans into 3 clusters is stored already, ARI 1.000: take it with --clustering tiny/made" in told.output
    data = json.loads(run(root, "compare", "--strategies", "kmeans", "--json").stdout)
    assert list(data["tables"]) == ["scores", "costs"]
    assert data["tables"]["scores"] == kept.tables["scores"].take([0, 2]).to_pylist()
    assert (tmp_path / "out" / "compare.png").stat().st_size > 5000


def test_map_is_stored_and_drawn(root: str, tmp_path: Path):
    told = run(root, "map", "--out", tmp_path / "out", "--thumbnails", 5)
    assert told.exit_code == 0, told.output
    assert "Kept as map/tiny-pca in generation" in told.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"map-pca.png", "map-pca-thumbnails.png"}
    kept = stored_results.load(CollectionReader.open(root), "map/tiny-pca").tables["map"]
    data = json.loads(run(root, "map", "--json", "--keep", "again").stdout)
    assert data["tables"]["map"] == kept.to_pylist()
    assert kept.num_rows == 24
    assert "map/again" in CollectionReader.open(root).manifest.results


@pytest.mark.parametrize(
    ("color", "by"), [("label", "label"), ("cluster", "cluster of tiny/made"), ("prediction", "prediction of a")]
)
def test_map_colors_have_the_requested_meaning(root: str, color: str, by: str):
    view = View(CollectionReader.open(root))
    spaces = view.reader.manifest.spaces
    spaces["tiny"] = dataclasses.replace(spaces["tiny"], model="a")
    told, named = categories(view, "tiny", color, "")
    assert told == by
    expected = {"label": ["tench", "goldfish"], "cluster": ["0", "1"], "prediction": ["tench", "goldfish"]}
    assert named[:2] == expected[color]


@pytest.mark.parametrize(
    ("command", "arguments", "code", "message"),
    [
        ("classes", ["--models", "b"], 1, "has no model 'b'; it has: a, tiny"),
        ("classes", ["--class-map", "none.csv"], 2, "The class map none.csv cannot be read"),
        ("choose-k", ["--from", "9", "--to", "4"], 2, "--from 9 --to 4: give two numbers from 2 up"),
        ("choose-k", ["--space", "none"], 1, "has no space 'none'; it has: tiny"),
        ("choose-k", ["--from", "30"], 2, "with 24 images at most 23 clusters"),
        ("dendrogram", [], 1, "keeps no predictions of the model tiny"),
        ("dendrogram", ["--model", "a", "--word-vectors", "none.txt"], 1, "There is no word vectors file none.txt"),
        ("dendrogram", ["--model", "a", "--weights", "none.pth"], 1, "There is no weights file"),
        ("compare", ["--strategies", "dbscan"], 2, "There is no strategy 'dbscan'"),
        ("compare", ["--clusters", "24"], 2, "give a number from 2 to 23"),
        ("map", ["--method", "som"], 2, "'som' is not one of"),
        ("map", ["--color", "prediction", "--out", "out"], 1, "keeps no predictions of the model tiny"),
        ("map", ["--clustering", "tiny/none", "--out", "out"], 1, "no clustering 'tiny/none'"),
        ("map", ["--clustering", "tiny/none"], 1, "no clustering 'tiny/none'"),
        ("map", ["--keep", "../up"], 2, "cannot be the name of a result"),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(
    root: str, tmp_path: Path, monkeypatch, command: str, arguments, code, message: str
):
    monkeypatch.chdir(tmp_path)
    told = run(root, command, *arguments)
    assert (told.exit_code, "Traceback" in told.output) == (code, False), told.output
    assert message in " ".join(told.output.split())


def test_noise_has_a_map_without_labels(make_collection):
    storage = make_collection(np.random.default_rng(0).random((9, 4)).astype(np.float32), name="noise")
    told = run(str(storage.root), "map")
    assert told.exit_code == 0, told.output
