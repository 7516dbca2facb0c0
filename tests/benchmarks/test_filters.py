from __future__ import annotations

import numpy as np

from lookalike_benchmarks.filtering import Filterable
from lookalike_benchmarks.vectors import Clustered


def test_filters_keep_what_their_names_say():
    points = Filterable.of(Clustered(rows=600, dim=16, seed=1), 3)
    near, far = points.masks("near", 0.1), points.masks("far", 0.1)
    for line, products in enumerate(points.products):
        assert near[line].sum() == far[line].sum() == 60
        assert products[near[line]].mean() > products.mean() > products[far[line]].mean()
    random = points.masks("random", 0.1)
    assert random[0] is random[2]
    best = np.argsort(-np.where(near[0], points.products[0], -9))[:10]
    assert points.recall(best[None], near[:1]) == 1
    assert points.recall(np.full((1, 10), -1), far[:1]) == 0


def test_each_kind_of_index_and_of_filter_has_a_row(bench):
    rows = bench("filters")
    cells = [row for row in rows if "in a batch" not in row["case"]]
    assert [row["case"] for row in cells] == [
        f"{index}, {kind} {share}%"
        for index in ("flat", "ivf-sq8")
        for kind in ("random", "near", "far")
        for share in (1, 50)
    ]
    for row in cells:
        measured = row["measured"]
        assert measured["complete"] == 1
        assert measured["recall_ratio"] >= 0.95
        assert measured["ratio"] > 0
        assert row["note"] in ("matches", "lists", "matching-lists")
    together = [row for row in rows if "in a batch" in row["case"]]
    assert len(together) == 4
    assert all(row["measured"]["cpu_ms_a_query"] > 0 for row in together)
