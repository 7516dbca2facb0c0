"""Assignment of a space's images on the machines of a cluster: the same bytes as in one process."""

from __future__ import annotations

import numpy as np
import pytest
from tests.indexer.clustering.test_cluster_stage import written
from tests.indexer.machines.fake_ray import machines_without_ray

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.progress import Silent


@pytest.mark.parametrize("losses", [0, 2])
@pytest.mark.parametrize("strategy", ["kmeans", "whitened"])
def test_machines_assign_like_one_process(make_collection, clustered, monkeypatch, strategy, losses):
    vectors = clustered(530, 12, 7)
    made = []
    for name, machines in (("here", None), ("there", machines_without_ray(monkeypatch, ["a", "b"], losses))):
        storage = make_collection(vectors, part_rows=[100, 0, 30, 50, 150, 200], name=name)
        settings = ClusterSettings(clusters=7, strategy=strategy)
        draft, report = run_cluster(storage, generations.require_latest(storage), settings, Silent(), machines)
        made.append((generations.publish(storage, draft), written(storage), report.sizes.tolist()))
    assert made[0] == made[1]
    assert len(made[0][1]) >= 7
    assert np.sum(made[0][2]) == 530
