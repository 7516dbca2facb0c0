"""`lookalike graph`: the neighbors found, resumption, and other commands that handle its files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.graph import graph
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.graph import each_pair, graph_stage, groups
from lookalike_indexer.graph.lists import Neighbors, merged
from lookalike_indexer.progress import Silent
from lookalike_indexer.upkeep.compact import compact
from lookalike_indexer.vectors import exchange
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify


def stored(storage):
    """Return the whole graph: ids, neighbors, distances."""
    reader = CollectionReader.open(str(storage.root))
    return tuple(map(np.concatenate, zip(*reader.stream_graph(), strict=True)))


def brute_force(vectors, k, metric="cosine"):
    """Find neighbors in float64, ties by id; the id of row i is 3 * i + 1."""
    vectors = vectors.astype(np.float64)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    distances = np.square(apart) / 2 if metric == "cosine" else apart
    np.fill_diagonal(distances, np.inf)
    rounded = distances.round(6)
    order = np.argsort(rounded, axis=1, kind="stable")[:, :k]
    return order * 3 + 1, np.take_along_axis(distances, order, axis=1)


def written(storage):
    files = sorted((storage.root / "graphs").rglob("*.parquet"))
    return {str(path.relative_to(storage.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_graph_equals_a_float64_comparison(make_collection, clustered, graphed, metric):
    vectors = clustered(230, 12, 7)
    vectors[[5, 90, 229]] = vectors[40]  # copies: ties by id, and an image is never its own neighbor
    storage = make_collection(vectors, part_rows=[100, 0, 30, 100])
    told = graphed(storage, "-k", 5, "--metric", metric)
    ids, neighbors, distances = stored(storage)
    expected, apart = brute_force(vectors, 5, metric)
    assert ids.tolist() == (np.arange(230) * 3 + 1).tolist()
    assert neighbors.tolist() == expected.tolist()
    np.testing.assert_allclose(distances, apart, atol=2e-6)
    assert neighbors[40, :3].tolist() == [16, 271, 688]
    assert (told["method"], told["recall"], told["k"], told["rows"], told["parts"]) == ("exact", 1.0, 5, 230, 4)


def test_bytes_do_not_depend_on_the_block_size(make_collection, clustered, graphed, monkeypatch):
    vectors = clustered(150, 8, 5)
    one, other = (make_collection(vectors, part_rows=40, name=name) for name in ("one", "other"))
    graphed(one, "-k", 4)
    monkeypatch.setattr(groups, "_HELD", 1)
    graphed(other, "-k", 4)
    assert len(written(one)) == 4
    assert written(one) == written(other)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_one_product_for_each_pair_gives_what_a_comparison_of_all_gives(
    make_collection, clustered, graphed, monkeypatch, metric
):
    vectors = clustered(300, 12, 7)
    vectors[[5, 90, 229]] = vectors[40]
    one, other = (make_collection(vectors, part_rows=[70, 0, 110, 120], name=name) for name in ("one", "other"))
    monkeypatch.setattr(each_pair, "_BLOCK", 32)
    monkeypatch.setattr(exchange, "_BLOCK", 32)
    monkeypatch.setattr(groups, "_HELD", 4 * 12 * 180)
    graphed(one, "-k", 5, "--metric", metric)
    # As if a resumed run had few parts left.
    monkeypatch.setattr(graph_stage, "is_worth_it", lambda *arguments: False)
    graphed(other, "-k", 5, "--metric", metric)
    assert written(one) == written(other)


@pytest.mark.own_process
def test_exact_graph_loads_no_large_module(make_collection, clustered):
    storage = make_collection(clustered(30, 8, 3), part_rows=20)
    typed = [["graph", str(storage.root), "-k", "4", "--exact"], ["graph", str(storage.root), "-k", "4", "--exact"]]
    program = [sys.executable, "-m", "tests.programs.run_and_list_modules", json.dumps(typed)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=240, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {"codes": [0, 0], "large": []}
    assert len(written(storage)) == 2


def test_collection_of_few_images_has_short_lists(make_collection, graphed):
    storage = make_collection(np.eye(3, dtype=np.float32))
    graphed(storage, "-k", 4)
    _, neighbors, distances = stored(storage)
    assert neighbors.tolist() == [[4, 7, -1, -1], [1, 7, -1, -1], [1, 4, -1, -1]]
    assert distances[:, 2:].tolist() == [[np.inf] * 2] * 3
    told = CliRunner().invoke(graph, [str(storage.root), "-k", "4"]).output
    assert "tiny: the 2 nearest of each of 3 images (all others) by cosine distance" in told


def test_grown_collection_gets_the_bytes_of_a_new_graph(
    make_collection, grow_collection, clustered, graphed, monkeypatch
):
    vectors = clustered(170, 8, 5)
    vectors[160] = vectors[3]
    grown = make_collection(vectors[:120], part_rows=40, name="grown")
    graphed(grown, "-k", 4)
    grow_collection(grown, vectors[120:])
    compared = []
    usual = graph_stage.Comparison
    monkeypatch.setattr(
        graph_stage,
        "Comparison",
        lambda reader, paths, metric: compared.append(len(paths)) or usual(reader, paths, metric),
    )
    told = graphed(grown, "-k", 4)
    assert compared == [1, 4]
    assert (told["extended"], told["rows"]) == (120, 170)
    whole = make_collection(vectors, part_rows=[40, 40, 40, 50], name="whole")
    graphed(whole, "-k", 4)
    assert [each.tolist() for each in stored(grown)] == [each.tolist() for each in stored(whole)]
    contents = [list(written(storage).values()) for storage in (grown, whole)]
    assert set(contents[1]) <= set(contents[0])


@pytest.mark.parametrize("written_before", [1, 2])
def test_killed_run_continues_with_equal_bytes(make_collection, clustered, graphed, monkeypatch, written_before):
    vectors = clustered(150, 8, 5)
    killed, whole = (make_collection(vectors, part_rows=40, name=name) for name in ("killed", "whole"))
    graphed(whole, "-k", 4)
    monkeypatch.setattr(groups, "_HELD", 1)
    usual, count = graph_stage.write_neighbors, []

    def dies(*arguments):
        count.append(1)
        if len(count) == written_before + 1:
            raise KeyboardInterrupt
        usual(*arguments)

    monkeypatch.setattr(graph_stage, "write_neighbors", dies)
    assert CliRunner().invoke(graph, [str(killed.root), "-k", "4"]).exit_code == 1
    assert generations.numbers(killed) == [1]
    assert len(written(killed)) == written_before
    monkeypatch.setattr(graph_stage, "write_neighbors", usual)
    assert graphed(killed, "-k", 4)["reused_parts"] == written_before
    assert written(killed) == written(whole)


def test_same_command_again_changes_nothing(make_collection, clustered, graphed):
    storage = make_collection(clustered(60, 8, 5), part_rows=20)
    assert graphed(storage)["generation"] == 2
    told = graphed(storage)
    assert (told["generation"], told["reused_parts"]) == (2, 3)
    assert graphed(storage, "-k", 3)["generation"] == 3


def test_index_finds_candidates_and_its_recall_is_reported(make_collection, grow_collection, clustered, graphed):
    vectors = clustered(600, 16, 30, spread=0.4)
    storage = make_collection(vectors, part_rows=200)
    assert CliRunner().invoke(build, [str(storage.root), "--index", "ivf-sq8", "--nlist", "8"]).exit_code == 0
    told = graphed(storage, "-k", 6)
    assert (told["method"], told["index"], told["recall_queries"]) == ("index", "tiny/main", 256)
    _, neighbors, distances = stored(storage)
    expected, apart = brute_force(vectors, 6)
    hits = [len(set(one) & set(other)) / 6 for one, other in zip(neighbors.tolist(), expected.tolist(), strict=True)]
    assert told["recall"] == pytest.approx(np.mean(hits), abs=0.03)
    assert told["recall"] > 0.9
    # The distances are those of the embeddings, not of the index's codes.
    np.testing.assert_allclose(distances[neighbors == expected], apart[neighbors == expected], atol=1e-6)
    shown = CliRunner().invoke(graph, [str(storage.root), "-k", "6"]).output
    assert f"recall@6: {told['recall']:.4f}, measured on 256 images" in shown
    # An exact graph replaces it, and then suffices for later requests.
    assert graphed(storage, "-k", 6, "--exact")["method"] == "exact"
    assert graphed(storage, "-k", 6)["method"] == "exact"
    assert stored(storage)[1].tolist() == expected.tolist()
    grow_collection(storage, vectors[:20])
    said = graphed(storage, "-k", 6, code=1)
    assert "The index tiny/main covers 600 of 620 images; update it with: lookalike build" in said


def test_index_is_searched_for_new_images_only(make_collection, grow_collection, clustered, graphed):
    vectors = clustered(300, 16, 30, spread=0.4)
    storage = make_collection(vectors[:280], part_rows=140)
    options = [str(storage.root), "--index", "ivf-sq8", "--nlist", "4"]
    assert CliRunner().invoke(build, options).exit_code == 0
    graphed(storage, "-k", 3)
    grow_collection(storage, vectors[280:])
    assert CliRunner().invoke(build, options).exit_code == 0
    told = graphed(storage, "-k", 3)
    assert (told["extended"], told["method"]) == (280, "index")
    assert told["recall"] > 0.9


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--space", "none"], 1, "has no space 'none'; it has: tiny."),
        (["-k", "0"], 2, "0 is not in the range"),
        (["--index", "main"], 1, "has no index; build one with: lookalike build"),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(make_collection, graphed, options, code, message):
    assert message in graphed(make_collection(np.eye(4, dtype=np.float32)), *options, code=code)


def test_large_space_without_an_index_needs_a_decision(make_collection, graphed, monkeypatch):
    monkeypatch.setattr(graph_stage, "_FEW", 3)
    monkeypatch.setattr(graph_stage, "_COMPONENTS_UP_TO", 3)
    said = graphed(make_collection(np.eye(4, dtype=np.float32)), code=1)
    assert "has 4 images and no index; build one with: lookalike build" in said
    assert "or give --exact." in said


def test_metric_that_the_index_lacks_is_rejected(make_collection, clustered, graphed):
    storage = make_collection(clustered(200, 8, 4))
    CliRunner().invoke(build, [str(storage.root), "--index", "ivf-sq8", "--nlist", "4"])
    said = graphed(storage, "--metric", "l2", code=2)
    assert "The index tiny/main compares by cosine; give --exact to compare by l2." in said


def test_non_finite_embeddings_are_rejected(make_collection, graphed):
    vectors = np.eye(4, dtype=np.float32)
    vectors[2, 0] = np.nan
    assert "The embedding of image 7 in the space tiny holds NaN" in graphed(make_collection(vectors), code=1)


def test_verify_compact_gc_and_remove_know_the_graph(make_collection, clustered, graphed):
    storage = make_collection(clustered(90, 8, 5), part_rows=30)
    graphed(storage, "-k", 3)
    assert run_verify(storage, VerifySettings(images=0), Silent()).damages == []
    before = [each.tobytes() for each in stored(storage)]
    with writing(storage):
        draft, done = compact(storage, generations.require_latest(storage), 1000, Silent())
        generations.publish(storage, draft)
    assert done.parts_after == 1
    entry = CollectionReader.open(str(storage.root)).graph()
    assert len(entry.neighbors) == len(entry.parts) == 1
    assert [each.tobytes() for each in stored(storage)] == before
    # It still covers all images, so nothing is made again.
    assert graphed(storage, "-k", 3)["generation"] == 3
    with writing(storage):
        collect(storage, 1)
    assert run_verify(storage, VerifySettings(images=0), Silent()).damages == []
    assert len(written(storage)) == 1
    removed = CliRunner().invoke(remove, [str(storage.root), "--graph", "tiny"])
    assert "removed the graph of tiny" in removed.output
    with writing(storage):
        assert collect(storage, 1).foreign == []
    assert written(storage) == {}


def test_damaged_part_is_named_with_its_repair_command(make_collection, clustered, graphed):
    storage = make_collection(clustered(30, 8, 5))
    graphed(storage, "-k", 3)
    (path,) = (storage.root / "graphs").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (damage,) = run_verify(storage, VerifySettings(images=0), Silent()).damages
    assert damage.mend.endswith(f"lookalike graph {storage.root} --space tiny -k 3 --exact")


def test_merged_lists_hold_each_image_once():
    one = Neighbors(np.array([[3, 8, -1]]), np.array([[0.1, 0.3, np.inf]], np.float32))
    other = Neighbors(np.array([[8, 5, 1]]), np.array([[0.3, 0.3, 0.0]], np.float32))
    found = merged(one, other, np.array([1]))
    assert found.ids.tolist() == [[3, 5, 8]]
    np.testing.assert_allclose(found.distances, [[0.1, 0.3, 0.3]])


def test_stored_neighbors_of_images_are_listed(make_collection, clustered, graphed):
    vectors = clustered(60, 8, 5)
    storage = make_collection(vectors, part_rows=20)
    reader = CollectionReader.open(str(storage.root))
    keys = reader.images(["key"]).column("key").to_pylist()
    said = graphed(storage, "--list", keys[0], code=1)
    assert "has no graph of nearest neighbors; make one with: lookalike graph" in said
    graphed(storage, "-k", 5)
    ids, neighbors, distances = stored(storage)
    told = graphed(storage, "--list", keys[41], "--list", keys[3], "-k", 4)
    rows = told["tables"]["neighbors"]
    assert [row["image"] for row in rows] == [keys[41]] * 4 + [keys[3]] * 4
    assert [row["id"] for row in rows] == [*neighbors[41, :4].tolist(), *neighbors[3, :4].tolist()]
    assert [row["distance"] for row in rows[:4]] == pytest.approx(distances[41, :4].tolist())
    assert rows[0]["key"] == keys[ids.tolist().index(rows[0]["id"])]
    assert (rows[0]["rank"], rows[4]["rank"]) == (1, 1)
    shown = CliRunner().invoke(graph, [str(storage.root), "--list", keys[41]])
    assert shown.exit_code == 0
    assert "has the 5 nearest of each image by cosine distance, by a comparison of all images." in shown.output
    assert rows[3]["key"] in shown.output
    assert "no image with key 'none'" in graphed(storage, "--list", "none", code=1)
    assert "-k 6: the graph of tiny has the 5 nearest" in graphed(storage, "--list", keys[0], "-k", 6, code=2)
    assert "--exact makes a graph, but --list KEY prints" in graphed(storage, "--list", keys[0], "--exact", code=2)
    table = CliRunner().invoke(graph, [str(storage.root), "--list", keys[41], "--csv", "neighbors"])
    assert table.stdout.splitlines()[0] == "image,rank,id,key,label,distance"
    assert "--csv requires --list KEY" in CliRunner().invoke(graph, [str(storage.root), "--csv", "neighbors"]).output
