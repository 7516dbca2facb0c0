from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.map2d import METHODS, default_name, map2d
from lookalike_indexer.experiments.view import View


@pytest.fixture
def view(make_collection, clustered) -> View:
    """80 images in four distant groups."""
    return opened(make_collection(clustered(80, 12, 4, spread=0.05), part_rows=30))


def opened(storage) -> View:
    return View(CollectionReader.open(str(storage.root)))


def places_of(result) -> np.ndarray:
    table = result.tables["map"]
    assert [str(field.type) for field in table.schema] == ["int64", "float", "float"]
    return np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], axis=1)


EACH_METHOD = pytest.mark.parametrize("method", METHODS)


@EACH_METHOD
def test_groups_stay_together_and_a_seed_decides(make_collection, clustered, method: str):
    view = opened(make_collection(clustered(40, 12, 4, spread=0.05), part_rows=30))
    result = map2d(view, method=method)
    places, group = places_of(result), np.arange(40) % 4
    assert result.tables["map"].column("id").to_pylist() == view.ids.tolist()
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(1)] == group).all()
    again = map2d(view, method=method)
    assert result.tables["map"].equals(again.tables["map"])
    assert default_name(result) == f"tiny-{method}"


def test_pca_places_every_image_on_the_axes_of_a_sample(view):
    result = map2d(view, sample=40)
    assert result.tables["map"].num_rows == 80
    assert "The axes are those of a random sample of 40 of 80 images." in result.findings
    assert result.settings == {"space": "tiny", "method": "pca", "metric": "cosine", "sample": 40, "seed": 1234}


def test_pca_equals_that_of_scikit_learn(view):
    from sklearn.decomposition import PCA

    vectors = view.reader.vectors("tiny", np.arange(80)).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    model = PCA(2, svd_solver="full").fit(vectors)
    result = map2d(view)
    np.testing.assert_allclose(places_of(result), model.transform(vectors), atol=1e-4)
    assert result.figures["explained_variance"] == pytest.approx(model.explained_variance_ratio_.sum(), abs=1e-5)


def test_tsne_leaves_out_what_is_not_in_the_sample(view):
    result = map2d(view, method="tsne", sample=30)
    assert result.tables["map"].num_rows == 30
    assert "A random sample of 30 of 80 images is placed; the others are left out." in result.findings


@EACH_METHOD
def test_four_images_have_a_map(make_collection, method: str):
    four = opened(make_collection(np.eye(4, dtype=np.float32)))
    assert np.isfinite(places_of(map2d(four, method=method))).all()


def test_one_dimension_is_one_axis(make_collection):
    line = opened(make_collection(np.array([[1], [-1], [2], [-3]], np.float32)))
    assert (places_of(map2d(line))[:, 1] == 0).all()


def test_map_table_has_the_predictions(make_collection, clustered, publish_predictions):
    best = ["tabby"] * 3 + ["collie"] * 5
    view = View(publish_predictions(make_collection(clustered(8, 4, 2)), [[name, "lynx"] for name in best]))
    found = map2d(view, method="tsne", sample=6).tables["map"]
    rows = view.rows_of_ids(found.column("id").to_numpy())
    assert found.column("prediction").to_pylist() == [best[row] for row in rows]


def test_mistakes_are_named(view, make_collection):
    with pytest.raises(UsageError, match="no method 'som' for maps; there are pca, tsne, umap"):
        map2d(view, method="som")
    with pytest.raises(UsageError, match="--sample 3: a map needs at least 4"):
        map2d(view, sample=3)
    with pytest.raises(NotFoundError, match="has no space 'none'"):
        map2d(view, space="none")
    with pytest.raises(NotBuiltError, match="The space tiny has 3 images; a map needs at least 4"):
        map2d(opened(make_collection(np.eye(3, dtype=np.float32), name="three")))
