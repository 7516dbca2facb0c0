from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lookalike_benchmarks import results
from lookalike_benchmarks.contestant import Contestant, EngineError
from lookalike_benchmarks.engines.catalog import PEERS


def test_peer_is_measured_beside_ours(bench):
    rows = {row["case"]: row for row in bench("peers", "--set", "peers=exact", "--set", "recalls=80,90")}
    assert list(rows) == [
        "lookalike_local, built",
        "exact, built",
        "exact, recall@10 0.80, 1 caller",
        "exact, recall@10 0.80, batches of 64",
        "exact, recall@10 0.90, 1 caller",
        "exact, recall@10 0.90, batches of 64",
    ]
    built = rows["exact, built"]["measured"]
    assert built["best_recall_at_10"] > 0.99
    # 2,000 vectors of 64 float32.
    assert built["disk_mib"] == pytest.approx(2000 * 64 * 4 / 2**20, rel=0.01)
    for row in list(rows.values())[2:]:
        assert row["measured"]["recall_at_10"] >= row["params"]["recall_target"]
        assert row["measured"]["our_recall_at_10"] >= row["params"]["recall_target"]
        ours, theirs = row["measured"]["our_queries_per_s"], row["measured"]["queries_per_s"]
        assert row["measured"]["ratio_median"] == pytest.approx(ours / theirs)
        cpu = row["measured"]["cpu_us"] / row["measured"]["our_cpu_us"]
        assert row["measured"]["cpu_ratio"] == pytest.approx(cpu)
        assert row["measured"]["our_cpu_us"] > 0
        assert row["params"]["ours"] == "lookalike_local"
    lower, higher = (
        rows[f"exact, recall@10 {target}, 1 caller"]["params"]["our_effort"] for target in ("0.80", "0.90")
    )
    assert lower <= higher


def test_peer_that_cannot_be_installed_is_named_with_the_reason(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    result = invoke("peers", "--set", "peers=hnswlib", "--set", f"cache={tmp_path / 'peers'}")
    assert result.exit_code == 0, result.output
    rows = list(results.read(tmp_path / "results", "peers"))
    assert [row["case"] for row in rows] == ["lookalike_local, built", "hnswlib, not installed"]
    assert rows[1]["measured"] == {}
    assert rows[1]["note"].startswith("cannot be installed here: pip: No matching distribution found for hnswlib")


def test_unknown_peer_is_rejected(invoke):
    result = invoke("peers", "--set", "peers=pinecone")
    assert result.exit_code == 2
    assert "there are exact, hnswlib" in result.output


def test_every_peer_has_a_driver():
    folder = Path(__file__).parents[2] / "benchmarks" / "lookalike_benchmarks" / "engines"
    for peer in PEERS.values():
        assert (folder / f"{peer.module}.py").is_file()


def test_engine_finds_the_nearest(tmp_path):
    vectors = np.eye(20, dtype=np.float32) + 0.1 * np.random.default_rng(1).standard_normal((20, 20), np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    with Contestant("exact", Path(sys.executable), tmp_path) as engine:
        assert engine.build(tmp_path / "vectors.npy", 30)["efforts"] == [0]
        found = engine.find(vectors, 5, 0)
        timed = engine.time(tmp_path / "vectors.npy", 5, 0, batch=4, callers=3, seconds=0.1)
    assert found.taken.cpu_s > 0
    assert (found.ids == np.argsort(-(vectors @ vectors.T), axis=1)[:, :5]).all()
    assert timed.queries_per_s > 0
    assert 0.1 <= timed.seconds < 5


def test_failed_engine_reports_its_last_output(tmp_path):
    with (
        Contestant("exact", Path(sys.executable), tmp_path) as engine,
        pytest.raises(EngineError, match=r"FileNotFoundError.*nowhere"),
    ):
        engine.build(tmp_path / "nowhere.npy", 30)


def test_slow_engine_is_ended(tmp_path):
    np.save(tmp_path / "vectors.npy", np.eye(20, dtype=np.float32))
    with Contestant("exact", Path(sys.executable), tmp_path, patience=5) as engine:
        engine.build(tmp_path / "vectors.npy", 30)
        with pytest.raises(EngineError, match="did not answer within 5 s"):
            engine.time(tmp_path / "vectors.npy", 5, 0, batch=1, callers=1, seconds=60)
