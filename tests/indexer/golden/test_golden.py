"""The current code opens, verifies, searches and continues collections of every released format."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.manifest import FORMAT
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.experiments.stored_results import load
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

FORMATS = sorted(Path(__file__).parent.glob("format-*"))


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def storage(request, tmp_path):
    shutil.copytree(request.param, tmp_path / "golden")
    return Storage(tmp_path / "golden")


@pytest.fixture
def made(request):
    return request.node.callspec.params["storage"].name


def test_golden_collection_of_the_current_format_exists():
    assert FORMATS[-1].name == f"format-{FORMAT}"


def test_filter_text_round_trips(storage, made):
    report = run_verify(storage, VerifySettings(deep=True), Silent())
    assert report.damages == []
    written = {"format-1": (2, 16), "format-2": (2, 16), "format-3": (3, 23), "format-4": (5, 32)}[made]
    assert (report.generation, report.checks[1].looked) == written
    assert "7 are gone from the source" in report.checks[-1].note


def test_it_is_read_and_searched(storage):
    reader = CollectionReader.open(str(storage.root))
    assert reader.images(["key"]).column("key").to_pylist() == [
        "a/0.png", "a/2.png", "a/4.png", "a/6.png", "b/1.png", "b/3.png", "b/5.png",
    ]  # fmt: skip
    assert reader.rejects("shufflenet_v2_x0_5").column("key").to_pylist() == ["a/broken.jpg"]
    assert load(reader, "matrix/kept").tables["counts"].column("count").to_pylist() == [3, 4]
    assert reader.assignments("shufflenet_v2_x0_5/k2").clusters.shape == (7,)
    index = read_index(reader, reader.index())
    vectors = prepare(reader.vectors("shufflenet_v2_x0_5", np.arange(7)), "cosine")
    scores, rows = index.search(vectors, 7)
    if len(reader.deleted):
        # The index has the deleted images as its last rows; in format 4 one of them is in an increment.
        gone = [8] if len(reader.index().files) == 1 else [8, 1000]
        assert (index.ntotal, reader.deleted.tolist()) == (7 + len(gone), gone)
        scores, rows = index.search(vectors, index.ntotal)
        kept = rows < 7
        scores, rows = scores[kept].reshape(7, 7), rows[kept].reshape(7, 7)
    exact = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.testing.assert_array_equal(rows[:, 0], np.arange(7))
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1), atol=1e-5)


def test_it_is_continued(storage):
    done = CliRunner().invoke(cluster, [str(storage.root), "--clusters", "3"])
    assert done.exit_code == 0, done.output
    *before, newest = generations.numbers(storage)
    assert newest == len(before) + 1
    with writing(storage):
        assert collect(storage, 1).removed == before
    assert run_verify(storage, VerifySettings(images=0), Silent()).damages == []
