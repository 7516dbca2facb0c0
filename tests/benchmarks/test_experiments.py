from __future__ import annotations

import numpy as np
import pyarrow as pa

from lookalike_benchmarks import labeled
from lookalike_benchmarks.labeled import CLUSTERING, MODELS, Labeled, write_labeled
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.view import View


def test_every_experiment_reports_time_and_memory(bench):
    rows = {row["case"]: row for row in bench("experiments")}
    assert list(rows) == [
        f"{name}, 1,000 images" for name in ("class_matrix", "oddballs", "class_accuracies", "compare")
    ]
    for row in rows.values():
        assert row["params"]["classes"] == 20
        assert row["measured"]["base_rss_mib"] <= row["measured"]["peak_rss_mib"]


def test_collection_matches_its_manifest_across_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(labeled, "_PART_ROWS", 700)
    write_labeled(str(tmp_path / "made"), Labeled(rows=2000, dim=8, classes=10, clusters=6))
    reader = CollectionReader.open(str(tmp_path / "made"))
    view = View(reader)
    assert len(view) == 2000
    codes = np.array([int(name.removeprefix("class ")) for name in view.label_names])[view.labels]
    for model, share in MODELS.items():
        predicted = view.predicted(model)
        assert abs((predicted.classes[:, 0] == codes).mean() - share) < 0.05
        assert all(len(set(classes)) == 5 for classes in predicted.classes.tolist())
        assert (np.diff(predicted.probabilities, axis=1) <= 0).all()
        assert predicted.names[int(predicted.classes[0, 0])] == f"class {predicted.classes[0, 0]}"
    assigned = view.assigned(CLUSTERING)
    vectors = np.concatenate([vectors for _, vectors in reader.stream("first")])
    centroids = reader.centroids(CLUSTERING)
    # Cosine distances, as in the clustering.
    apart = 1 - vectors @ (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)).T
    np.testing.assert_array_equal(assigned.clusters, apart.argmin(axis=1))
    two = np.sort(apart, axis=1)
    np.testing.assert_allclose(assigned.distances, two[:, 0], atol=1e-3)
    np.testing.assert_allclose(assigned.margins, two[:, 1] - two[:, 0], atol=2e-3)
    assert reader.images().schema.field("label").type == pa.string()
