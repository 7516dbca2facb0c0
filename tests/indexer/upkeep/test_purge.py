"""After purge and gc nothing is left of deleted images, and everything else is unchanged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lookalike_indexer.attributes.attach import attach
from lookalike_indexer.attributes.table import TableColumns
from lookalike_indexer.cli.compact import compact
from lookalike_indexer.cli.gc import gc
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.cli.verify import verify
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.stored_results import store_result
from lookalike_indexer.graph.graph_stage import run_graph
from lookalike_indexer.graph.settings import GraphSettings
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.indexing.recall import measure_recall
from lookalike_indexer.indexing.recipes import held_out_count
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.upkeep.purge import is_worth_it, purge
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows, read_rows
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

DELETED = [4, 7, 31, 58]
KEYS = [f"{number:05d}.jpg" for number in DELETED]


def opened(storage):
    return CollectionReader.open(str(storage.root))


def run(command, *arguments):
    done = CliRunner().invoke(command, list(map(str, arguments)))
    return done.exit_code, done.output


def damaged(storage):
    """Return the damage, except of predictions: the fixture's are in one part, which joins with no other."""
    report = run_verify(storage, VerifySettings(deep=True, images=0), Silent())
    return [one for one in report.damages if not one.path.startswith("predictions/")]


@pytest.fixture
def storage(make_collection, clustered, publish_predictions, tmp_path):
    """A collection with every kind of data."""
    storage = make_collection(clustered(60, 8, 4), labels=["ab"[row % 2] for row in range(60)], part_rows=25)
    publish_predictions(storage, [["cat", "dog", "ant", "bee", "cow"]] * 60)
    table = tmp_path / "prices.parquet"
    keys = [f"{number:05d}.jpg" for number in range(1, 180, 3)]
    pq.write_table(pa.table({"key": keys, "shop": [f"shop {row}" for row in range(60)]}), table)
    draft = generations.require_latest(storage)
    draft, _ = run_cluster(storage, draft, ClusterSettings(clusters=4), Silent())
    draft, _ = run_build(storage, draft, BuildSettings(index="IVF4,Flat"), Silent())
    draft, _ = run_graph(storage, draft, GraphSettings(k=5), Silent())
    draft, _ = attach(storage, draft, table, "prices", TableColumns("key"), Silent())
    generations.publish(storage, draft)
    rows = pa.table({"id": [1, 4], "key": ["00001.jpg", "00004.jpg"]})
    store_result(opened(storage), "names", Result("sample", {"space": "tiny"}, {"images": rows}, {}, ()))
    store_result(opened(storage), "tells", Result("matrix", {}, {}, {}, ("00007.jpg is odd.",)))
    store_result(
        opened(storage), "counts", Result("matrix", {}, {"counts": pa.table({"count": [3]})}, {}, ("Two are odd.",))
    )
    return storage


def test_everything_else_stays(storage):
    before = opened(storage)
    delete(storage, ids=DELETED)
    live = opened(storage)
    draft, done = purge(storage, generations.require_latest(storage), Silent())
    generations.publish(storage, draft)
    after = opened(storage)
    assert (done.images, sorted(done.results)) == (4, ["matrix/tells", "sample/names"])
    assert after.manifest.rows(after.manifest.images) == after.manifest.spaces["tiny"].rows == 56
    assert after.images().equals(live.images())
    assert after.predictions("tiny").equals(live.predictions("tiny"))
    np.testing.assert_array_equal(after.vectors("tiny", np.arange(56)), live.vectors("tiny", np.arange(56)))
    for name in ("ids", "clusters", "distances"):
        np.testing.assert_array_equal(
            getattr(after.assignments("tiny/k4"), name), getattr(live.assignments("tiny/k4"), name)
        )
    for one, other in zip(after.stream_graph(), live.stream_graph(), strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    entry = after.index()
    index = read_index(after, entry)
    assert (index.ntotal, entry.rows, entry.trained_on) == (56, 56, before.index().trained_on)
    vectors = prepare(after.vectors("tiny", np.arange(56)), "cosine")
    assert index.search(vectors, 1)[1][:, 0].tolist() == list(range(56))
    column = after.manifest.attributes["prices"].columns[0]
    assert (column.count, column.examples) == (56, ["shop 0", "shop 3", "shop 4"])
    assert damaged(storage) == []


def test_recall_of_a_purged_index_is_measured_again(make_collection):
    vectors = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    storage = make_collection(vectors, part_rows=100)
    draft, _ = run_build(storage, generations.require_latest(storage), BuildSettings(index="IVF8,Flat"), Silent())
    generations.publish(storage, draft)
    delete(storage, ids=range(61, 361, 3))
    draft, _ = purge(storage, generations.require_latest(storage), Silent())
    generations.publish(storage, draft)
    reader = opened(storage)
    entry = reader.index()
    asked = np.sort(choose_rows(300, held_out_count(300), entry.seed))
    queries = read_rows(reader, "tiny", asked, entry.metric, Silent())
    true = measure_recall(read_index(reader, entry), reader, "tiny", entry.metric, asked, queries, Silent())
    assert (entry.rows, entry.recall_queries, entry.recall) == (300, len(asked), true)
    # Every list was visited, so everything was found.
    assert entry.recall[-1].recall == 1
    assert damaged(storage) == []


def test_purge_is_worthwhile_from_a_fifth_of_deleted_rows(storage):
    delete(storage, ids=range(1, 34, 3))
    assert not is_worth_it(storage, generations.require_latest(storage))
    delete(storage, ids=[34])
    assert is_worth_it(storage, generations.require_latest(storage))


def test_compact_purges_on_request_and_verify_confirms(storage):
    root = storage.root
    assert run(verify, root, "--deleted", KEYS[0]) == (2, AnyText("is not deleted; delete it with: lookalike remove"))
    assert run(remove, root, "--image", KEYS[0], "--image", KEYS[1], "--image", "nobody")[0] == 0
    code, text = run(verify, root, "--deleted", KEYS[0])
    assert code == 1
    assert "compact" in text
    assert "--purge" in text
    for table in ("images/", "embeddings/", "predictions/", "graphs/", "attributes/", "indexes/", "assignments/"):
        assert table in text or "more" in text
    assert run(compact, root)[0] == 0  # two of sixty are too few
    assert run(verify, root, "--deleted", KEYS[0])[0] == 1
    code, text = run(compact, root, "--purge")
    assert (code, "without 2 deleted images" in text) == (0, True)
    code, text = run(verify, root, "--deleted", KEYS[0])
    assert code == 1
    assert "--purge" not in text
    assert run(gc, root, "--keep", "1")[0] == 0
    assert run(verify, root, "--deleted", KEYS[0]) == (0, AnyText("Nothing is left of 00004.jpg but its key"))
    assert run(verify, root, "--deleted", KEYS[1])[0] == 0
    assert run(verify, root, "--deleted", "nobody.jpg") == (1, AnyText("No image of the collection"))
    assert damaged(storage) == []
    vectors = opened(storage).vectors("tiny", np.arange(58))
    for path in storage.walk():
        if path.startswith("embeddings/"):
            table = pq.read_table(storage.local(path))
            assert not np.isin(DELETED[:2], table.column("id").to_numpy()).any()
    assert len(vectors) == 58


def test_compact_purges_a_collection_of_one_generation(storage):
    """After gc, only the newest generation names the files with deleted images."""
    delete(storage, ids=DELETED)
    assert run(gc, storage.root, "--keep", "1")[0] == 0
    code, text = run(compact, storage.root, "--purge")
    assert (code, "without 4 deleted images" in text) == (0, True), text
    assert len(opened(storage).ids()) == 56


def test_unnamed_file_is_found(storage):
    delete(storage, ids=DELETED)
    draft, _ = purge(storage, generations.require_latest(storage), Silent())
    generations.publish(storage, draft)
    assert run(gc, storage.root, "--keep", "1")[0] == 0
    ids = pa.table({"id": pa.array([4], pa.int64())})
    pq.write_table(ids, storage.local("images/part-000077.parquet"))
    code, text = run(verify, storage.root, "--deleted", KEYS[0])
    assert (code, "images/part-000077.parquet" in text, "gc" in text) == (1, True, True)


def test_purging_again_finds_nothing(storage):
    delete(storage, ids=DELETED)
    draft, _ = purge(storage, generations.require_latest(storage), Silent())
    published = generations.publish(storage, draft)
    again, done = purge(storage, published, Silent())
    assert done.images == done.files == 0
    assert generations.publish(storage, again) == published
    assert dataclasses.replace(published).needed_format == 3


class AnyText(str):
    """Equal to every text that contains it."""

    __slots__ = ()

    def __eq__(self, other):
        return str(self) in str(other)

    def __hash__(self):
        return hash(str(self))
