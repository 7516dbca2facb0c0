"""Clusterings of every strategy are made, stored, extended and checked like those of k-means."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.cluster import cluster as command
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.strategies import MOST_PAIRED, check_paired
from lookalike_indexer.clustering.whitening import fit_whitening
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.commands import cluster_command
from lookalike_indexer.collection.manifest import STRATEGIES
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.progress import Silent
from lookalike_indexer.upkeep.renew import renew
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def cluster(storage, **settings):
    draft, report = run_cluster(storage, generations.require_latest(storage), ClusterSettings(**settings), Silent())
    return CollectionReader(storage, generations.publish(storage, draft)), report


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_finds_distant_groups_and_names_itself(make_collection, clustered, strategy):
    storage = make_collection(clustered(120, 12, 4), labels=list("abcd") * 30, part_rows=50)
    done = run(storage.root, "--strategy", strategy, "--clusters", 4, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    name = "k4" if strategy == "kmeans" else f"k4-{strategy}"
    assert (told["clustering"], told["strategy"]) == (f"tiny/{name}", strategy)
    assert told["spherical"] == (strategy == "spherical")
    assert told["sizes"] == [30] * 4
    reader = CollectionReader.open(str(storage.root))
    entry = reader.clustering(told["clustering"])
    assert entry.strategy == strategy
    assigned = reader.assignments(told["clustering"])
    truth = (np.arange(120) % 4).astype(np.int32)
    assert agreement(contingency(truth, assigned.clusters)).ari == 1
    again = Rule.of(reader, told["clustering"]).assign(reader.vectors("tiny", np.arange(120)))
    np.testing.assert_array_equal(again.clusters, assigned.clusters)
    np.testing.assert_array_equal(again.distances, assigned.distances)
    np.testing.assert_array_equal(again.margins, assigned.margins)
    assert f"strategy {strategy}" in run(storage.root, "--strategy", strategy, "--clusters", 4).output or name == "k4"


def test_flag_spherical_is_the_strategy_of_that_name(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    first = json.loads(run(storage.root, "--clusters", 4, "--spherical", "--json").stdout)
    second = json.loads(run(storage.root, "--clusters", 4, "--strategy", "spherical", "--json").stdout)
    assert (first["generation"], second["generation"], second["reused_files"]) == (2, 2, 2)
    refused = run(storage.root, "--spherical", "--strategy", "whitened")
    assert refused.exit_code == 2
    assert "--spherical means --strategy spherical" in refused.output


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rule_does_not_depend_on_the_parts_or_the_batch(make_collection, clustered, strategy):
    vectors = clustered(300, 24, 12, spread=1)
    one, other = (make_collection(vectors, part_rows=rows, name=name) for rows, name in ((300, "one"), (7, "parts")))
    left, right = (cluster(storage, clusters=9, strategy=strategy, restarts=2)[0] for storage in (one, other))
    (name,) = left.manifest.clusterings
    for column in ("clusters", "distances", "margins"):
        assert getattr(left.assignments(name), column).tobytes() == getattr(right.assignments(name), column).tobytes()
    rule = Rule.of(left, name)
    single = np.concatenate([rule.assign(vectors[row : row + 1]).distances for row in range(40)])
    assert single.tobytes() == left.assignments(name).distances[:40].tobytes()


def test_whitening_is_a_file_of_its_own_and_a_killed_run_resumes(make_collection, clustered):
    vectors = clustered(200, 10, 4)
    whole, killed = make_collection(vectors, name="whole"), make_collection(vectors, name="killed")
    reader, _ = cluster(whole, clusters=4, strategy="whitened")
    entry = reader.clustering("tiny/k4-whitened")
    assert reader.manifest.files[entry.whitening].rows == 4
    assert reader.manifest.files[entry.whitening].sha256 == whole.digest(entry.whitening)
    assert pq.read_table(whole.local(entry.whitening)).column_names == ["direction", "offset", "deviation"]
    for path in (entry.whitening, entry.assignments[0]):
        killed.local(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole.local(path), killed.local(path))
    again, report = cluster(killed, clusters=4, strategy="whitened")
    assert report.reused == 2
    assert again.manifest == reader.manifest


def test_whitened_components_have_one_variance_and_rows_one_length(clustered):
    vectors = prepare(clustered(500, 40, 6, spread=0.7), "cosine")
    for some in (vectors, vectors[:30]):
        whitening = fit_whitening(some, 6)
        assert whitening.directions.shape == (6, 40)
        np.testing.assert_allclose(whitening.directions @ whitening.directions.T, np.eye(6), atol=1e-6)
        scaled = (some @ whitening.directions.T - whitening.offsets) / whitening.deviations
        np.testing.assert_allclose(np.cov(scaled.T), np.eye(6), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(whitening.apply(some), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_growth_keeps_the_strategy(make_collection, grow_collection, clustered, strategy):
    storage = make_collection(clustered(90, 12, 3))
    _, before = cluster(storage, clusters=3, strategy=strategy, seed=4)
    grow_collection(storage, clustered(30, 12, 3))
    draft, done = renew(storage, generations.require_latest(storage), Silent())
    (after,) = [report.entry for report in done.clusterings]
    assert (after.strategy, after.seed, after.rows, after.name) == (strategy, 4, 120, before.entry.name)
    assert ("--strategy" in cluster_command("c", after)) == (strategy != "kmeans")
    generations.publish(storage, draft)


def test_verify_checks_a_whitening(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    reader, _ = cluster(storage, clusters=4, strategy="whitened")
    path = reader.clustering("tiny/k4-whitened").whitening
    assert run_verify(storage, VerifySettings(images=0), Silent()).damages == []
    storage.local(path).write_bytes(b"no table")
    (found,) = run_verify(storage, VerifySettings(images=0), Silent()).damages
    assert found.path == path
    assert "--name k4-whitened --clusters 4 --strategy whitened" in found.mend


def test_copies_are_never_divided(make_collection):
    rows = np.repeat(np.random.default_rng(0).standard_normal((2, 8)), 20, axis=0)
    noise = 1e-8 * np.random.default_rng(1).standard_normal(rows.shape)
    storage = make_collection((rows + noise).astype(np.float32))
    _, report = cluster(storage, clusters=5, strategy="bisecting")
    assert sorted(report.sizes.tolist()) == [0, 0, 0, 20, 20]


def test_impossible_settings_are_rejected_with_a_remedy(make_collection, clustered):
    storage = make_collection(np.ones((30, 8), np.float32))
    alike = run(storage.root, "--strategy", "whitened", "--clusters", 3)
    assert (alike.exit_code, "leave out --strategy whitened" in " ".join(alike.output.split())) == (2, True)
    lengths = run(storage.root, "--strategy", "whitened", "--metric", "l2")
    assert (lengths.exit_code, "leave out --metric l2" in " ".join(lengths.output.split())) == (2, True)
    check_paired(MOST_PAIRED, MOST_PAIRED)
    check_paired(10 * MOST_PAIRED, 1000)
    with pytest.raises(UsageError, match=r"compares all pairs of 4,000 images.*--clusters 1000, or --strategy bisect"):
        check_paired(MOST_PAIRED + 1, 1001)


def test_ward_groups_equal_those_of_scikit_learn(make_collection, clustered):
    from sklearn.cluster import AgglomerativeClustering

    vectors = clustered(150, 16, 6, spread=0.6)
    reader, _ = cluster(make_collection(vectors), clusters=6, strategy="agglomerative")
    unit = prepare(vectors, "cosine")
    groups = AgglomerativeClustering(6).fit_predict(unit)
    means = np.stack([unit[groups == group].mean(axis=0) for group in range(6)])
    found = reader.centroids("tiny/k6-agglomerative")
    apart = np.linalg.norm(found[:, None] - means[None], axis=2)
    assert sorted(apart.argmin(axis=1)) == list(range(6))
    assert apart.min(axis=1).max() < 1e-6


def test_rule_is_read_without_the_libraries_that_train():
    rule = "lookalike_indexer.clustering.assignment_rule"
    program = f"import sys; import {rule}; print([*{{'torch', 'sklearn'}} & {{*sys.modules}}])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
