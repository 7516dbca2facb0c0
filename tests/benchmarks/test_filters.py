from __future__ import annotations

from pathlib import Path

import numpy as np

from lookalike_benchmarks import filtered_peers
from lookalike_benchmarks.engines.lookalike_local import LookalikeLocal
from lookalike_benchmarks.engines.shape import Where
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


def test_engines_are_compared_under_equivalent_filters():
    """Check that an engine's filter allows exactly the rows by which its recall is judged."""
    made = Clustered(rows=600, dim=16, seed=1)
    points, classes = Filterable.of(made, 3), made.classes()
    setting = filtered_peers.Setting(points, classes, (0.1, 0.5), 0.9, 1, 60, Path(), {})
    rank = filtered_peers.ranks(600)
    cells = list(filtered_peers.cells(setting))
    assert [(cell.kind, cell.share) for cell in cells] == [
        (kind, share) for kind in ("random", "near", "far") for share in (0.1, 0.5)
    ]
    for cell in cells:
        for one, mask in zip(cell.where, cell.masks, strict=True):
            allowed = np.isin(classes, one.among) if one.among else rank < one.below
            np.testing.assert_array_equal(mask, allowed)
            assert mask.sum() >= 600 * cell.share
    assert str(cells[0].where[0]) == "rank < 60"
    assert str(Where("class", among=(1, 4))) == "class in (1,4)"


def test_lookalike_accepts_the_filters_of_its_peers(tmp_path):
    made = Clustered(rows=600, dim=16, seed=1)
    engine = LookalikeLocal("ivf-sq8")
    engine.build_with(made.all(), {"class": made.classes(), "rank": filtered_peers.ranks(600)}, tmp_path)
    found = engine.search_where(made.queries(2), 10, 4, [Where("class", among=(1, 2)), Where("rank", below=5)])
    assert set(made.classes()[found[0]]) <= {1, 2}
    assert set(filtered_peers.ranks(600)[found[1][found[1] >= 0]]) == set(range(5))
