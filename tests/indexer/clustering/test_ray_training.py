"""Clustering on a real Ray cluster of one machine: the same bytes as in one process."""

from __future__ import annotations

import pytest
from tests.indexer.clustering.test_cluster_stage import written
from tests.indexer.machines.real_ray import one_machine, ray

from lookalike_indexer.clustering import kmeans
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Silent

__all__ = ["one_machine"]


@pytest.mark.slow
def test_cluster_trains_and_assigns_the_bytes_of_one_process(one_machine, make_collection, clustered, monkeypatch):
    monkeypatch.setattr(kmeans, "worthwhile", lambda *size: True)
    vectors = clustered(9000, 32, 20, spread=1)
    # The fixture joined the cluster already, and a process can join only once.
    cluster = Machines(ray, one_machine)
    made = []
    for name, machines in (("here", None), ("there", cluster)):
        storage = make_collection(vectors, part_rows=[5000, 4000], name=name)
        settings = ClusterSettings(clusters=20, restarts=2, iterations=8)
        draft, report = run_cluster(storage, generations.require_latest(storage), settings, Silent(), machines)
        made.append((generations.publish(storage, draft), written(storage), report.entry.inertia))
    assert made[0] == made[1]
