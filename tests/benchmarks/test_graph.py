from __future__ import annotations

import pytest

from lookalike_benchmarks.engines.catalog import Peer
from lookalike_benchmarks.suites import graph


def test_all_graph_methods_are_measured_at_equal_recall(bench):
    rows = {row["case"]: row for row in bench("graph")}
    names = ("lookalike exact", "lookalike by default", "lookalike ivf-flat", "faiss.knn")
    exact, by_default, by_index, faiss = (rows[name] for name in names)
    for row in (exact, by_default, by_index, faiss):
        assert (row["params"]["rows"], row["params"]["dim"], row["params"]["k"]) == (1500, 32, 4)
        assert row["measured"]["neighbors_per_s"] == pytest.approx(6000 / row["measured"]["seconds"])
    assert faiss["measured"]["recall_at_4"] == 1
    # Distances that are equal up to rounding may change places.
    assert exact["measured"]["recall_at_4"] > 0.999
    assert by_default["measured"]["recall_at_4"] > 0.95
    assert by_index["measured"]["recall_at_4"] > 0.9
    ratios = rows["lookalike exact over faiss.knn"]["measured"]
    assert ratios["time_ratio"] == pytest.approx(exact["measured"]["seconds"] / faiss["measured"]["seconds"])
    assert ratios["cpu_ratio"] == pytest.approx(exact["measured"]["cpu_s"] / faiss["measured"]["cpu_s"])


def test_peer_has_the_least_effort_that_reaches_the_recall(bench, monkeypatch):
    monkeypatch.setattr(graph, "GRAPH_PEERS", {"exact": Peer("exact", (), compiles=True)})
    rows = {row["case"]: row for row in bench("graph", "--set", "peers=exact", "--set", "index=")}
    alone, compiled = rows["exact"], rows["exact with compiling"]
    assert alone["measured"]["recall_at_4"] > 0.999
    assert alone["params"]["recall_target"] == 0.95
    assert compiled["measured"]["cpu_s"] > alone["measured"]["cpu_s"] > 0
    ratio = rows["lookalike exact over exact with compiling"]["measured"]["cpu_ratio"]
    assert ratio == pytest.approx(rows["lookalike exact"]["measured"]["cpu_s"] / compiled["measured"]["cpu_s"])


def test_recall_can_be_that_of_some_images(bench):
    rows = {row["case"]: row for row in bench("graph", "--set", "truth=200", "--set", "index=")}
    faiss, exact = rows["faiss.knn"], rows["lookalike exact"]
    assert faiss["note"] == "of an array in memory, from the time of 200 images"
    assert exact["params"]["truth_rows"] == 200
    assert exact["measured"]["recall_at_4"] > 0.999
    assert faiss["measured"]["recall_at_4"] == 1


def test_unknown_peer_is_rejected(invoke):
    told = invoke("graph", "--set", "peers=annoy")
    assert told.exit_code == 2
    assert "there are usearch, pynndescent" in told.output
