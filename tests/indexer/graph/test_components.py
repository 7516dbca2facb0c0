"""Graphs of larger collections: principal components find candidates, and the stored embeddings decide."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.graph import graph
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.graph import components, graph_stage, groups


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Lower the limits, so that small collections count as large ones."""
    monkeypatch.setattr(graph_stage, "_FEW", 100)
    monkeypatch.setattr(graph_stage, "_COMPONENTS_FROM", 100)
    monkeypatch.setattr(components, "COMPONENTS", (4, 8, 12))


def lists(storage):
    return tuple(map(np.concatenate, zip(*CollectionReader.open(str(storage.root)).stream_graph(), strict=True)))


def true_neighbors(vectors, k):
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = 1 - unit @ unit.T
    np.fill_diagonal(apart, np.inf)
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return order * 3 + 1, np.take_along_axis(apart, order, axis=1)


@pytest.fixture
def few_directions(clustered):
    """Return vectors of 48 dimensions that vary in 10 directions, and a little in all."""

    def make(rows):
        rng = np.random.default_rng(5)
        turned = np.linalg.qr(rng.standard_normal((48, 10)))[0].T.astype(np.float32)
        vectors = clustered(rows, 10, 20, spread=0.4) @ turned
        return (vectors + 0.01 * rng.standard_normal(vectors.shape)).astype(np.float32)

    return make


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_components_find_the_nearest_and_the_recall_is_reported(make_collection, graphed, few_directions, metric):
    vectors = few_directions(400)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    storage = make_collection(vectors, part_rows=150)
    told = graphed(storage, "-k", 5, "--metric", metric)
    assert (told["method"], told["index"], told["recall_queries"]) == ("components", "", 256)
    assert told["reason"] == "principal components find the candidates"
    _, neighbors, distances = lists(storage)
    expected, apart = true_neighbors(vectors, 5)
    hits = [len(set(one) & set(other)) / 5 for one, other in zip(neighbors.tolist(), expected.tolist(), strict=True)]
    assert np.mean(hits) > 0.95
    assert told["recall"] == pytest.approx(np.mean(hits), abs=0.03)
    same = neighbors == expected
    np.testing.assert_allclose(distances[same], (apart if metric == "cosine" else np.sqrt(2 * apart))[same], atol=1e-6)
    shown = CliRunner().invoke(graph, [str(storage.root), "-k", "5", "--metric", metric]).output
    assert f"recall@5: {told['recall']:.4f}, measured on 256 images" in shown


def test_grouped_and_single_pass_give_equal_bytes(make_collection, graphed, few_directions, monkeypatch):
    vectors = few_directions(400)
    whole, pieces = (make_collection(vectors, part_rows=130, name=name) for name in ("whole", "pieces"))
    graphed(whole, "-k", 5)
    monkeypatch.setattr(groups, "_HELD", 1)
    graphed(pieces, "-k", 5)
    assert [each.tobytes() for each in lists(pieces)] == [each.tobytes() for each in lists(whole)]


def test_killed_run_continues_with_equal_bytes(make_collection, graphed, few_directions, monkeypatch):
    vectors = few_directions(300)
    killed, whole = (make_collection(vectors, part_rows=100, name=name) for name in ("killed", "whole"))
    graphed(whole, "-k", 4)
    monkeypatch.setattr(groups, "_HELD", 1)
    usual, count = graph_stage.write_neighbors, []

    def dies(*arguments):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        usual(*arguments)

    monkeypatch.setattr(graph_stage, "write_neighbors", dies)
    assert CliRunner().invoke(graph, [str(killed.root), "-k", "4"]).exit_code == 1
    monkeypatch.setattr(graph_stage, "write_neighbors", usual)
    assert graphed(killed, "-k", 4)["reused_parts"] == 1
    assert [each.tobytes() for each in lists(killed)] == [each.tobytes() for each in lists(whole)]
    assert graphed(killed, "-k", 4)["reused_parts"] == 3


def test_grown_collection_compares_the_known_with_the_new(make_collection, grow_collection, graphed, few_directions):
    vectors = few_directions(330)
    storage = make_collection(vectors[:300], part_rows=150)
    graphed(storage, "-k", 4)
    grow_collection(storage, vectors[300:])
    told = graphed(storage, "-k", 4)
    assert (told["method"], told["extended"], told["rows"]) == ("components", 300, 330)
    assert told["recall"] > 0.95


def test_without_dominant_directions_the_measured_recall_is_low(make_collection, graphed, monkeypatch):
    monkeypatch.setattr(components, "_LEAST", 0.0)
    vectors = np.random.default_rng(3).standard_normal((300, 48)).astype(np.float32)
    told = graphed(make_collection(vectors), "-k", 4)
    assert told["method"] == "components"
    assert told["recall"] < 0.97


def test_non_finite_embeddings_are_rejected(make_collection, graphed, few_directions):
    vectors = few_directions(300)
    vectors[200, 3] = np.inf
    assert "holds NaN or infinite values" in graphed(make_collection(vectors), code=1)


def test_weak_components_are_replaced_by_a_full_comparison(make_collection, graphed, few_directions):
    # One vector in ten is so long that the grid of the components maps all others to one point.
    vectors = few_directions(300)
    vectors[::10] *= 1e5
    told = graphed(make_collection(vectors), "-k", 4, "--metric", "l2")
    assert told["reason"] == "principal components tell too little: every image is compared with every other"
    assert told["recall"] == 1.0


def test_more_neighbors_need_an_index(make_collection, graphed, few_directions):
    said = graphed(make_collection(few_directions(150)), "-k", 65, code=1)
    assert "or give --exact, or at most -k 64." in " ".join(said.split())
