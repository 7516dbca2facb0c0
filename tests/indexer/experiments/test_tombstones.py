"""No command that shows images shows a deleted one."""

from __future__ import annotations

import re
from importlib import metadata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lookalike_indexer.attributes.attach import attach
from lookalike_indexer.attributes.table import TableColumns
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.stored_results import load, load_rows, out_of_date, store_result
from lookalike_indexer.experiments.view import View
from lookalike_indexer.graph.graph_stage import run_graph
from lookalike_indexer.graph.settings import GraphSettings
from lookalike_indexer.progress import Silent

# Copies of other images under another label, class and split, so that every experiment would find them.
ODD = [10, 30, 50]
DELETED = [3 * row + 1 for row in ODD]
KEYS = [f"{number:05d}.jpg" for number in DELETED]
LABELS = ["tench", "goldfish", "hen", "ostrich"]

# The arguments of each command that reads a folder; DIR is the collection, FILE a file to write.
SHOWING = {
    "choose-k": ["--collection", "DIR", "--from", "2", "--to", "4", "--json"],
    "classes": ["--collection", "DIR", "--json"],
    "compare": ["--collection", "DIR", "--clusters", "4", "--json"],
    "duplicates": ["DIR", "--max-distance", "0.001", "--limit", "1000", "--json"],
    "export": ["DIR", "FILE"],
    "graph": ["DIR", "-k", "4", "--json"],
    "images": ["--collection", "DIR", "--limit", "1000", "--json"],
    "info": ["DIR", "--json"],
    "interpret": ["--collection", "DIR", "--samples", "50", "--json"],
    "label-issues": ["DIR", "--limit", "1000", "--json"],
    "leaks": ["DIR", "--split", "split", "--max-distance", "0.001", "--limit", "1000", "--json"],
    "map": ["--collection", "DIR", "--method", "pca", "--json"],
    "matrix": ["--collection", "DIR", "--json"],
    "mistakes": ["--collection", "DIR", "--limit", "1000", "--json"],
    "oddballs": ["--collection", "DIR", "--limit", "1000", "--json"],
    "rejects": ["DIR", "--json"],
    "results": ["sample/names", "--collection", "DIR", "--json"],
    "sample": ["DIR", "-n", "77", "--json"],
    "show": ["--collection", "DIR", "--random", "77", "--json"],
    "split": ["tench", "--collection", "DIR", "--json"],
}
# Commands that show no image of a folder, or that other tests cover.
ELSEWHERE = {
    "attach", "bench", "build", "cluster", "compact", "completion", "doctor", "embed", "gc", "import", "index", "parts",
    "relocate", "reload", "remove", "route", "serve", "set", "token", "verify", "watch",
    # Commands of a server: tests/server/test_tombstones.py.
    "clusters", "delete", "explore", "search", "upsert",
    # These need the network's weights and the image files; they read a View, as all others do.
    "dendrogram", "evolution", "explain", "quality", "report", "sort",
}  # fmt: skip


@pytest.fixture(scope="module")
def vectors():
    generator = np.random.default_rng(3)
    centers = generator.standard_normal((4, 8))
    made = (centers[np.arange(80) % 4] + 0.2 * generator.standard_normal((80, 8))).astype(np.float32)
    for row in ODD:
        made[row] = made[row + 1]
    return made


@pytest.fixture
def storage(make_collection, publish_model, vectors, tmp_path):
    labels = [LABELS[row % 4] for row in range(80)]
    storage = make_collection(vectors, labels=labels, part_rows=100)
    classes = {"tench": 0, "goldfish": 1, "hen": 8, "ostrich": 9}
    publish_model(storage, "tiny", [[classes[LABELS[(row + (row in ODD)) % 4]], 5] for row in range(80)])
    draft = generations.require_latest(storage)
    draft, _ = run_cluster(storage, draft, ClusterSettings(clusters=4), Silent())
    draft, _ = run_graph(storage, draft, GraphSettings(k=4), Silent())
    table = tmp_path / "splits.parquet"
    keys = [f"{3 * row + 1:05d}.jpg" for row in range(80)]
    pq.write_table(
        pa.table({"key": keys, "split": ["test" if row in ODD or row % 7 == 0 else "train" for row in range(80)]}),
        table,
    )
    draft, _ = attach(storage, draft, table, "splits", TableColumns("key"), Silent())
    generations.publish(storage, draft)
    rows = pa.table({"id": [1, *DELETED], "key": ["00001.jpg", *KEYS]})
    result = Result("sample", {"space": "tiny"}, {"images": rows}, {}, ("Four are odd.", f"{KEYS[0]} is odd."))
    store_result(CollectionReader.open(str(storage.root)), "names", result)
    return storage


def shown(storage, tmp_path, name):
    """Return everything that a command prints and writes, as text."""
    [entry] = [one for one in metadata.entry_points(group="lookalike.commands") if one.name == name]
    written = tmp_path / "written.npy"
    places = {"DIR": str(storage.root), "FILE": str(written)}
    done = CliRunner().invoke(entry.load(), [places.get(one, one) for one in SHOWING[name]])
    assert done.exit_code == 0, done.output
    beside = written.with_suffix(".keys.csv")
    return done.output + (beside.read_text() if beside.exists() else "")


def names_of(text):
    return set(re.findall(r"\d{5}\.jpg", text)) & set(KEYS)


def test_every_command_is_checked_for_deleted_images():
    there = {entry.name for entry in metadata.entry_points(group="lookalike.commands")}
    assert there <= SHOWING.keys() | ELSEWHERE, "say what a new command shows of deleted images"


# Before the deletion these commands show the images of the fixture, so that their later absence is meaningful.
SEEN = {"duplicates", "export", "images", "label-issues", "leaks", "mistakes", "oddballs", "results", "sample", "show"}


@pytest.mark.parametrize("name", sorted(SHOWING))
def test_deleted_image_is_shown_no_more(storage, tmp_path, name):
    if name in SEEN:
        assert names_of(shown(storage, tmp_path, name))
    delete(storage, ids=DELETED)
    assert not names_of(shown(storage, tmp_path, name))


def test_deleted_image_is_not_counted(storage, tmp_path):
    delete(storage, ids=DELETED)
    view = View(CollectionReader.open(str(storage.root)))
    assert len(view) == 77
    assert np.bincount(view.labels).sum() == 77
    assert len(view.assigned("tiny/k4").clusters) == len(view.predicted("tiny").classes) == 77
    assert (view.assigned("tiny/k4").clusters >= 0).all()
    assert view.matching("split = 'test'").sum() == len([row for row in range(0, 80, 7) if row not in ODD])
    for path in ("images", "deleted"):
        assert f'"{path}": {77 if path == "images" else 3}' in shown(storage, tmp_path, "info")


def test_stored_results_skip_deleted_images_and_are_outdated(storage):
    delete(storage, ids=DELETED)
    reader = CollectionReader.open(str(storage.root))
    found = load(reader, "sample/names")
    assert found.tables["images"].column("id").to_pylist() == [1]
    assert found.findings == ("Four are odd.",)
    assert len(load_rows(reader, "sample/names", ["images"], 0, 3).tables["images"]) == 1
    assert out_of_date(reader.manifest, "sample/names")
