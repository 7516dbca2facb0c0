"""Exact neighbors found on the machines of a cluster: those of one process, so that the recall is the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.indexer.machines.fake_ray import machines_without_ray

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.indexing import truth_on_machines
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.indexing.truth_on_machines import exact_on_machines
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.exact import exact_search


@pytest.fixture
def collection(make_collection, clustered, monkeypatch):
    monkeypatch.setattr(truth_on_machines, "_PARTS", 2)
    vectors = clustered(530, 12, 7)
    vectors[300:330] = vectors[:30]

    def make(name):
        return make_collection(vectors, part_rows=[100, 0, 30, 50, 150, 200], name=name)

    return make


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize(("machines", "losses"), [(1, 0), (2, 0), (3, 0), (2, 2)])
def test_machines_find_the_neighbors_of_one_process(collection, monkeypatch, metric, machines, losses):
    storage = collection("whole")
    reader = CollectionReader(storage, generations.require_latest(storage))
    blocks, start = [], 0
    for ids, vectors in reader.stream("tiny"):
        blocks.append((np.arange(start, start + len(ids)), vectors))
        start += len(ids)
    queries = np.concatenate([vectors for _, vectors in blocks])[::9]
    cluster = machines_without_ray(monkeypatch, ["a", "b", "c"][:machines], losses, at=0)
    advanced = []
    for k in (1, 20, 600):
        expected = exact_search(iter(blocks), queries, k, metric)
        rows, distances = exact_on_machines(cluster, reader, "tiny", queries, k, metric, advanced.append)
        assert rows.tobytes() == expected[0].tobytes()
        assert distances.tobytes() == expected[1].tobytes()
    assert sum(advanced) >= 3 * 530


def test_an_index_has_the_recall_that_one_process_measures(collection, monkeypatch):
    entries = []
    for name, machines in (("here", None), ("there", machines_without_ray(monkeypatch, ["a", "b"]))):
        storage = collection(name)
        settings = BuildSettings(index="IVF16,SQ8")
        _, report = run_build(storage, generations.require_latest(storage), settings, Silent(), machines)
        entries.append(dataclasses.asdict(report.entry))
    assert entries[0] == entries[1]
    assert len(entries[0]["recall"]) > 3
