from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.charts.matrix import matrix_figures
from lookalike_indexer.errors import NotBuiltError, NotFoundError
from lookalike_indexer.experiments.main_clusters import order_columns, order_rows, ranked, turned
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.metrics import contingency
from lookalike_indexer.experiments.view import View

# Cats are in 0; dogs half in 1 and half in 2; cows in 1; one image has no label.
LABELS = ["cat"] * 5 + ["dog"] * 4 + ["cow"] * 3 + [None]
CLUSTERS = [0, 0, 0, 0, 3, 2, 2, 1, 0, 1, 1, 1, 3]


@pytest.fixture
def view(make_collection, publish_clustering, clustered) -> View:
    return View(publish_clustering(make_collection(clustered(13, 4, 3), labels=LABELS), CLUSTERS, k=5))


def test_counts_are_exact(view: View):
    found = class_matrix(view)
    cells = [tuple(row.values()) for row in found.tables["counts"].to_pylist()]
    assert cells == [
        ("cat", 0, 4, True),
        ("cat", 3, 1, False),
        ("cow", 1, 3, True),
        ("dog", 2, 2, True),
        ("dog", 0, 1, False),
        ("dog", 1, 1, False),
    ]
    figures = found.figures
    assert (figures["images"], figures["left_out"], figures["clusters"], figures["empty_clusters"]) == (12, 1, 5, 1)
    assert any(finding.startswith("Left out: 1 image without a label or a cluster; ") for finding in found.findings)
    assert figures["purity"] == pytest.approx((4 + 3 + 2 + 1) / 12)


def test_main_clusters_are_the_fewest_that_hold_half(make_collection, publish_clustering, clustered):
    labels = ["a"] * 10 + ["b"] * 4
    clusters = [0] * 4 + [1] * 4 + [2] * 2 + [1] * 4
    view = View(publish_clustering(make_collection(clustered(14, 4, 3), labels=labels), clusters))
    found = class_matrix(view)
    a, b = found.tables["labels"].to_pylist()
    assert (a["main_clusters"], a["straddles"], a["share"], a["spread"]) == ([0, 1], True, 0.4, 3)
    assert (a["shares_with"], b["shares_with"], b["main_clusters"]) == (["b"], ["a"], [1])
    assert any("Straddling several clusters, 1 of 2 classes: a (0, 1);" in finding for finding in found.findings)
    assert "Main clusters of several classes, 1 of 3: 1 (a, b)." in found.findings


def test_split_classes_are_reported_with_the_class_they_share_a_cluster_with(
    make_collection, publish_clustering, clustered
):
    labels = ["saw"] * 50 + ["player"] * 50 + ["fish"] * 20
    clusters = [0] * 28 + [1] * 17 + [3] * 5 + [1] * 50 + [2] * 19 + [0]
    view = View(publish_clustering(make_collection(clustered(120, 4, 3), labels=labels), clusters))
    found = class_matrix(view)
    assert found.tables["secondary"].to_pylist() == [
        {"label": "saw", "cluster": 1, "count": 17, "share": 0.34, "shares_with": ["player"]},
        {"label": "saw", "cluster": 3, "count": 5, "share": 0.1, "shares_with": []},
    ]
    told = "34% of saw with player (cluster 1), 10% of saw apart (cluster 3)"
    assert f"Smaller parts of 10% and more lie elsewhere, of 1 of 3 classes: {told}." in found.findings
    figure = matrix_figures(found)["classes"]
    widths = sorted(round(bar.get_width(), 2) for bar in figure.axes[0].patches if bar.get_width())
    assert widths == [0.05, 0.1, 0.34, 0.56, 0.95, 1.0]


def test_cluster_reports_its_label_and_purity(view: View):
    clusters = class_matrix(view).tables["clusters"].to_pydict()
    assert clusters["size"] == [5, 4, 2, 2, 0]
    assert clusters["labelled"] == [5, 4, 2, 1, 0]
    assert clusters["label"] == ["cat", "cow", "dog", "cat", None]
    np.testing.assert_allclose(clusters["purity"], [0.8, 0.75, 1, 1, np.nan])
    assert clusters["labels"] == [["cat"], ["cow"], ["dog"], [], []]


def test_similar_rows_and_columns_are_adjacent():
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(40), 20).astype(np.int32)
    # Labels i and i + 20 share cluster i.
    clusters = np.where(generator.random(800) < 0.9, labels % 20, generator.integers(0, 20, 800)).astype(np.int32)
    table = contingency(labels, clusters)
    rows = order_rows(table)
    assert sorted(rows.tolist()) == list(range(40))
    assert all(abs(rows[place] - rows[place + 1]) == 20 for place in range(0, 40, 2))
    columns = order_columns(table, rows)
    assert columns.tolist() == [row % 20 for row in rows[::2].tolist()]


def test_turned_table_is_turned():
    table = contingency(np.array([0, 0, 1, 2], np.int32), np.array([1, 0, 1, 1], np.int32))
    assert turned(table).sparse().toarray().tolist() == table.sparse().toarray().T.tolist()
    cells = ranked(turned(table))
    assert cells.rows.tolist() == [0, 1, 1, 1]
    assert cells.place.tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(cells.before, [0, 0, 1 / 3, 2 / 3])


@pytest.mark.parametrize("labels", [["a"] * 6, ["a", "b"] * 3])
def test_few_classes_and_clusters_are_no_trouble(make_collection, publish_clustering, clustered, labels):
    view = View(publish_clustering(make_collection(clustered(6, 4, 1), labels=labels), [0] * 6))
    found = class_matrix(view)
    assert found.figures["completeness"] == 1
    assert len(matrix_figures(found)) == 3


def test_charts_show_every_image(view: View):
    figures = matrix_figures(class_matrix(view))
    image = figures["matrix"].axes[0].images[0].get_array()
    assert (image.shape, image.sum()) == ((3, 5), 12)
    assert sum(bar.get_width() for bar in figures["clusters"].axes[0].patches) == 12
    assert sum(bar.get_width() for bar in figures["classes"].axes[0].patches) == pytest.approx(3)


def test_missing_labels_or_clusterings_are_reported(make_collection, publish_clustering, clustered):
    storage = make_collection(clustered(6, 4, 2))
    with pytest.raises(NotBuiltError, match="has a label"):
        class_matrix(View(publish_clustering(storage, [0, 1] * 3)))
    bare = make_collection(clustered(6, 4, 2), labels=["a", "b"] * 3, name="bare")
    from lookalike_indexer.collection.reader import CollectionReader

    with pytest.raises(NotBuiltError, match="has no clustering; make one with: lookalike cluster"):
        class_matrix(View(CollectionReader.open(str(bare.root))))
    with pytest.raises(NotFoundError, match="has no clustering 'tiny/none'"):
        class_matrix(View(CollectionReader.open(str(bare.root))), "tiny/none")
