"""Collections in which all or most images have the same embedding, and collections of one to three images."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.choose_k import choose_k
from lookalike_indexer.experiments.compare import compare
from lookalike_indexer.experiments.explain import explain
from lookalike_indexer.experiments.image_clusters import image_clusters
from lookalike_indexer.experiments.interpret import interpret_clusters
from lookalike_indexer.experiments.map2d import METHODS, map2d
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.partitions import STRATEGIES
from lookalike_indexer.experiments.split import split_label
from lookalike_indexer.experiments.view import View
from lookalike_indexer.numerics.variation import all_equal

NOISE = np.random.default_rng(0)
KINDS: dict[str, Callable[[int], np.ndarray]] = {
    "copies": lambda count: np.full((count, 64), 0.3, np.float32),
    # Embeddings of a network without biases for black images.
    "zeros": lambda count: np.zeros((count, 64), np.float32),
    # Embeddings of copies of an image in different batches.
    "rounding": lambda count: (0.3 + 3e-8 * NOISE.standard_normal((count, 64))).astype(np.float32),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def view_of(make_collection, publish_clustering, publish_predictions) -> Callable[[np.ndarray], View]:
    """Return a view of vectors with the labels a and b in turn, one cluster, and predictions."""

    def make(vectors: np.ndarray) -> View:
        count = len(vectors)
        storage = make_collection(vectors, labels=(["a", "b"] * count)[:count])
        publish_clustering(storage, [0] * count, name="k1")
        return View(publish_predictions(storage, [["x", "y"]] * count))

    return make


@pytest.mark.parametrize("method", METHODS)
@EACH_KIND
def test_there_is_no_map(view_of, kind: str, method: str):
    with pytest.raises(NotBuiltError, match=r"^All 6 images of tiny have the same embedding; a map needs different on"):
        map2d(view_of(KINDS[kind](6)), method=method)


@EACH_KIND
def test_there_is_no_number_of_clusters(view_of, kind: str):
    with pytest.raises(NotBuiltError, match="All 6 images of tiny have the same embedding; a choice of clusters needs"):
        choose_k(view_of(KINDS[kind](6)))


@EACH_KIND
def test_equal_embeddings_are_one_group_in_every_strategy(view_of, kind: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(view_of(KINDS[kind](6)))
    scores = found.tables["scores"].to_pydict()
    # The stored clustering is measured by Euclidean distances, which whitening does not affect.
    assert scores["strategy"] == [*(name for name in STRATEGIES if name != "whitened"), "kmeans"]
    assert scores["largest"] == scores["smallest"] == [6] * len(STRATEGIES)
    assert np.isnan(scores["silhouette"]).all()
    assert "All 6 images of tiny have the same embedding; they are one group there." in found.findings


@EACH_KIND
def test_class_of_equal_images_is_not_split(view_of, kind: str):
    found = split_label(view_of(KINDS[kind](8)), "a")
    assert found.tables["subclusters"].column("size").to_pylist() == [4]


@pytest.mark.parametrize("method", ["embeddings", "clusters"])
@EACH_KIND
def test_nothing_is_odd(view_of, kind: str, method):
    found = oddballs(view_of(KINDS[kind](40)), method=method)
    assert (found.figures["images"], found.figures["odd"]) == (40, 0)


@EACH_KIND
def test_ties_between_labels_go_to_the_first_label(make_collection, publish_clustering, kind: str):
    """With equal embeddings, every label is as near as every other."""
    labels = [f"label{row % 7}" for row in range(70)]
    storage = make_collection(KINDS[kind](70), labels=labels)
    view = View(publish_clustering(storage, [row % 2 for row in range(70)]))
    listed = oddballs(view, method="embeddings", limit=70).tables["oddballs"].to_pylist()
    assert {line["score"] for line in listed} <= {0.0}


@pytest.mark.parametrize("count", [1, 2, 3])
@EACH_KIND
def test_one_to_three_images(view_of, kind: str, count: int):
    view = view_of(KINDS[kind](count))
    assert class_matrix(view).figures["images"] == count
    assert interpret_clusters(view).tables["clusters"].column("size").to_pylist() == [count]
    assert image_clusters(view, 0).tables["members"].num_rows == count - 1
    assert explain(view, 0).settings["label"] == "a"
    assert oddballs(view).figures["odd"] == 0
    with pytest.raises(NotBuiltError, match=f"The space tiny has {count} images; a map needs at least 4"):
        map2d(view)
    with pytest.raises((NotBuiltError, UsageError), match=f"with {count} images|has {count} images|All {count} images"):
        choose_k(view)
    with pytest.raises(UsageError, match="has only one image"):
        split_label(view, "b" if count > 1 else "a")
    if count < 3:
        with pytest.raises((NotBuiltError, UsageError), match="images"):
            compare(view)
    else:
        assert compare(view).settings["clusters"] == 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("groups", [(7, 1), (4, 4), (6, 1, 1)])
def test_few_different_images_have_a_map(view_of, method: str, groups: tuple[int, ...]):
    vectors = np.repeat(np.eye(len(groups), 64, dtype=np.float32), groups, axis=0)
    table = map2d(view_of(vectors), method=method).tables["map"]
    assert np.isfinite([table.column("x").to_numpy(), table.column("y").to_numpy()]).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_groups_than_different_images_divide_no_copies(view_of, strategy: str):
    vectors = np.repeat(np.eye(3, 64, dtype=np.float32), [10, 10, 4], axis=0)
    groups = STRATEGIES[strategy](vectors, 5, 1)
    for start, stop in ((0, 10), (10, 20), (20, 24)):
        assert len(set(groups[start:stop].tolist())) == 1


def test_vectors_equal_up_to_rounding_are_alike():
    vectors = KINDS["rounding"](5)
    assert all_equal(vectors)
    vectors[0, 0] += 1e-4
    assert not all_equal(vectors)
    assert all_equal(vectors[:1])
    assert all_equal(vectors[:0])


def test_process_survives_the_map_of_copies(view_of):
    """t-SNE crashed the process (SIGSEGV), so it runs in another process here."""
    root = view_of(KINDS["copies"](4)).reader.storage.root
    command = [sys.executable, "-m", "lookalike", "map", "--collection", str(root), "--method", "tsne"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: All 4 images of tiny have the same embedding; a map needs different ones.\n"
