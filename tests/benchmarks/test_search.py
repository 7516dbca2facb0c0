from __future__ import annotations

import numpy as np
import pytest

from lookalike_benchmarks.peak import Ceiling
from lookalike_benchmarks.searching import speed
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.vectors import Clustered

INDEXES = ["flat", "ivf-flat", "ivf-fp16", "ivf-sq8", "ivf-pq", "HNSW32,SQ8", "ivf-rabitq", "ivf-pqfs"]


def test_every_index_is_measured_by_batch_and_effort(bench):
    rows = bench("search")
    measured = [row for row in rows if not row["case"].startswith(("fastest", "flat over"))]
    assert {row["case"] for row in rows if row["case"].startswith("flat over")} == {
        f"flat over its ceiling, batch {batch}, cpu" for batch in (1, 16, 64)
    }
    for name in INDEXES:
        own = [row for row in measured if row["params"]["index"] == name]
        assert {row["params"]["batch"] for row in own} == {1, 16, 64}
        for row in own:
            assert row["params"]["placement"] == "cpu"
            assert row["params"]["rows"] == 3000
            assert 0 <= row["measured"]["recall_at_10"] <= 1
            assert row["measured"]["index_mib"] == own[0]["measured"]["index_mib"]
    recalls = {row["case"]: row["measured"]["recall_at_10"] for row in measured}
    assert recalls["flat, cpu: batch 1"] == 1
    ladder = [
        recall
        for case, recall in recalls.items()
        if case.startswith("ivf-flat, cpu: nprobe") and case.endswith("batch 1")
    ]
    assert ladder == sorted(ladder)
    assert ladder[0] < ladder[-1]
    assert ladder[-1] > 0.98
    assert recalls["HNSW32,SQ8, cpu: efSearch 16 batch 16"] > 0.5
    assert recalls["ivf-rabitq, cpu: nprobe 1 batch 1"] < recalls["ivf-rabitq, cpu: nprobe 8 batch 1"]
    sizes = {row["params"]["index"]: row["measured"]["index_mib"] for row in measured}
    assert sizes["ivf-flat"] > sizes["ivf-fp16"] > sizes["ivf-sq8"] > sizes["ivf-pq"]
    assert sizes["flat"] == pytest.approx(3000 * 64 * 4 / 2**20, rel=0.01)


def test_fastest_row_at_a_recall_is_a_measured_row(bench):
    rows = bench("search", "--set", "indexes=flat;ivf-sq8", "--set", "batches=16")
    rates = {row["case"]: row["measured"] for row in rows}
    best = [row for row in rows if row["case"].startswith("fastest")]
    assert [row["params"]["recall_at_least"] for row in best] == [0.9, 0.95, 0.99]
    for row in best:
        assert rates[row["note"]]["queries_per_s"] == row["measured"]["queries_per_s"]
        assert row["measured"]["recall_at_10"] >= row["params"]["recall_at_least"]


def test_unbuildable_index_is_left_out_and_reported(invoke):
    result = invoke("search", "--set", "indexes=flat;IVF8,Nothing", "--set", "batches=1")
    assert result.exit_code == 0
    assert "IVF8,Nothing is left out: --index 'IVF8,Nothing': faiss cannot make it" in result.output
    assert "flat, cpu: batch 1" in result.output


def test_vectors_of_a_collection_can_be_searched(bench, tmp_path):
    write_collection(str(tmp_path / "collection"), Clustered(rows=1500, dim=24))
    rows = bench("search", "--set", f"collection={tmp_path / 'collection'}", "--set", "indexes=flat")
    assert {row["params"]["rows"] for row in rows} == {1500 - 64}
    assert {row["params"]["data"] for row in rows} == {"space synthetic, weights untrained"}
    assert {row["measured"].get("recall_at_10", 1) for row in rows} == {1}


def test_too_small_collection_is_rejected(invoke, tmp_path):
    write_collection(str(tmp_path / "collection"), Clustered(rows=20, dim=8))
    result = invoke("search", "--set", f"collection={tmp_path / 'collection'}")
    assert result.exit_code == 2
    assert "20 images, too few for 64 queries" in result.output


def test_ceiling_is_the_lower_of_memory_and_matrix_units():
    ceiling = Ceiling("float32", bytes_per_s=4e9, flop_per_s=2e12)
    # Read 4 GB once, with two operations for each value and query.
    assert ceiling.least_seconds(rows=1_000_000, dim=1000, batch=1) == pytest.approx(1.0)
    assert ceiling.least_seconds(rows=1_000_000, dim=1000, batch=8000) == pytest.approx(8.0)


def test_batch_larger_than_the_queries_repeats_them():
    asked = []

    class Counting:
        name = "counting"

        def search(self, queries, k, nprobe):
            asked.append(queries)
            return np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)

        def close(self):
            pass

    queries = np.arange(6, dtype=np.float32).reshape(3, 2)
    speed([Counting()], queries, batch=7, nprobe=0, at_least_s=0)
    assert {len(each) for each in asked} == {7}
    np.testing.assert_array_equal(asked[0][3:6], queries)
