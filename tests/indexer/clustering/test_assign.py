from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lookalike_indexer.clustering.assign import AssignedVectors, Assigner, assign
from lookalike_indexer.errors import UsageError

BATCHES = [1, 2, 3, 7, 16, 19, 20, 21, 63, 64, 65, 100, 255, 256, 257, 400]


def reference(vectors, centroids):
    """Assign by brute force in extended precision; ties go to the lower cluster."""
    x, c = vectors.astype(np.longdouble), centroids.astype(np.longdouble)
    squared = np.stack([np.square(x - centroid).sum(axis=1) for centroid in c], axis=1)
    ordered = np.sort(squared, axis=1)
    distances = np.sqrt(ordered[:, 0])
    margins = np.sqrt(ordered[:, 1]) - distances
    return squared.argmin(axis=1), distances, margins


def near_ties(rows=400, dim=512, seed=3):
    """Return vectors between two centroids, nearer to one of them by less than float32 resolves."""
    generator = np.random.default_rng(seed)
    centroids = generator.standard_normal((40, dim)).astype(np.float32)
    pairs = np.stack([generator.permutation(40)[:2] for _ in range(rows)])
    middle = (centroids[pairs[:, 0]].astype(np.float64) + centroids[pairs[:, 1]]) / 2
    return middle.astype(np.float32), centroids, pairs


def in_batches(search, vectors, size):
    return [search(vectors[start : start + size]) for start in range(0, len(vectors), size)]


def joined(pieces: list[AssignedVectors]) -> AssignedVectors:
    columns = zip(*((piece.clusters, piece.distances, piece.margins) for piece in pieces), strict=True)
    return AssignedVectors(*(np.concatenate(column) for column in columns))


def same_bits(left: AssignedVectors, right: AssignedVectors) -> bool:
    return all(
        getattr(left, name).tobytes() == getattr(right, name).tobytes() for name in ("clusters", "distances", "margins")
    )


def test_float32_search_depends_on_the_batch_for_these_vectors(monkeypatch):
    """Check that the vectors of the next test are hard; otherwise it would prove nothing."""
    vectors, centroids, _ = near_ties()
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(centroids)
    labels = {}
    # faiss compares small batches row by row and large ones by products. A server of an earlier test may have changed
    # the threshold for the whole process.
    for size, limit in ((1, 2**30), (400, 1)):
        monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", limit)
        found = in_batches(lambda batch: index.search(batch, 1)[1][:, 0], vectors, size)
        labels[size] = np.concatenate(found)
    assert np.count_nonzero(labels[1] != labels[400]) > 20


@pytest.mark.parametrize("size", BATCHES)
def test_assignment_does_not_depend_on_the_batch(size):
    vectors, centroids, _ = near_ties()
    whole = assign(vectors, centroids)
    assert same_bits(joined(in_batches(Assigner(centroids).assign, vectors, size)), whole)


def test_assignment_does_not_depend_on_batch_order_or_content():
    vectors, centroids, _ = near_ties()
    whole = assign(vectors, centroids)
    order = np.random.default_rng(1).permutation(len(vectors))
    shuffled = assign(vectors[order], centroids)
    assert np.array_equal(shuffled.clusters, whole.clusters[order])
    assert np.array_equal(shuffled.margins, whole.margins[order])


def test_near_ties_go_to_the_truly_nearest():
    vectors, centroids, pairs = near_ties()
    clusters, distances, margins = reference(vectors, centroids)
    found = assign(vectors, centroids)
    assert np.array_equal(found.clusters, clusters)
    assert (found.clusters[:, None] == pairs).any(axis=1).all()
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    np.testing.assert_allclose(found.margins, margins, atol=1e-6)


def test_vectors_far_from_the_origin_are_distinguished():
    """|x|^2 + |c|^2 - 2xc in float32 cannot resolve such small differences."""
    generator = np.random.default_rng(5)
    centroids = (1000 + 0.01 * generator.standard_normal((30, 64))).astype(np.float32)
    vectors = (1000 + 0.01 * generator.standard_normal((200, 64))).astype(np.float32)
    clusters, distances, margins = reference(vectors, centroids)
    naive = np.square(centroids).sum(axis=1) - 2 * vectors @ centroids.T
    assert np.count_nonzero(naive.argmin(axis=1) != clusters) > 50
    found = assign(vectors, centroids)
    assert np.array_equal(found.clusters, clusters)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    np.testing.assert_allclose(found.margins, margins, atol=1e-6)


def test_more_near_ties_than_candidates_are_all_compared():
    """Fifty centroids at almost the same distance, the nearest of them last."""
    centroids = np.eye(50, dtype=np.float32)
    centroids[49, 49] = np.float32(1) - np.float32(2**-24)
    vectors = np.zeros((30, 50), np.float32)
    found = assign(vectors, centroids)
    assert (found.clusters == 49).all()


def test_equal_distances_go_to_the_lower_cluster():
    centroids = np.array([[5, 5], [1, 0], [0, 1], [1, 0], [-1, 0]], np.float32)
    found = assign(np.zeros((25, 2), np.float32), centroids)
    assert (found.clusters == 1).all()
    assert (found.distances == 1).all()
    assert (found.margins == 0).all()


def test_one_cluster_has_an_infinite_margin():
    found = assign(np.array([[3, 4], [0, 0]], np.float32), np.zeros((1, 2), np.float32))
    assert found.clusters.tolist() == [0, 0]
    assert found.distances.tolist() == [5, 0]
    assert np.isposinf(found.margins).all()


def test_no_vectors():
    found = assign(np.empty((0, 4), np.float32), np.eye(4, dtype=np.float32))
    assert (len(found.clusters), len(found.distances), len(found.margins)) == (0, 0, 0)
    assert (found.clusters.dtype, found.distances.dtype, found.margins.dtype) == (np.int32, np.float32, np.float32)


def test_vectors_with_overflowing_squares_are_assigned():
    centroids = np.array([[1e25, 0], [0, 1e25], [3, 3]], np.float32)
    found = assign(np.array([[2e25, 0], [0, 2e25], [0, 0]], np.float32), centroids)
    assert found.clusters.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.distances[:2], 1e25, rtol=1e-6)


def test_non_finite_vectors_are_rejected():
    vectors = np.zeros((4, 2), np.float32)
    vectors[1, 0], vectors[3, 1] = np.nan, np.inf
    with pytest.raises(UsageError, match="2 of 4 vectors hold NaN or infinite values"):
        assign(vectors, np.eye(2, dtype=np.float32))


@settings(max_examples=80)
@given(data=st.data())
def test_any_vectors_are_assigned_as_by_brute_force_in_any_batch(data):
    dim = data.draw(st.integers(1, 9))
    # Few different values make many exact ties, odd values make near ties, and float64 squares and sums all of them
    # exactly, so that brute force detects ties.
    values = st.sampled_from([0, 1, -1, 2, 0.5, 2**-10, 1 + 2**-10, 4096.0, 4096 + 2**-11])
    centroids = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(2, 30)), dim), elements=values))
    vectors = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(1, 40)), dim), elements=values))
    found = assign(vectors, centroids)
    clusters, distances, _ = reference(vectors, centroids)
    assert np.array_equal(found.clusters, clusters)
    np.testing.assert_allclose(found.distances, distances.astype(np.float64), rtol=1e-6)
    size = data.draw(st.integers(1, 40))
    assert same_bits(joined(in_batches(Assigner(centroids).assign, vectors, size)), found)


@pytest.mark.gpu
@pytest.mark.parametrize("size", BATCHES)
def test_gpus_give_the_same_bits(size):
    vectors, centroids, _ = near_ties()
    assigner = Assigner(centroids, gpus=range(faiss.get_num_gpus()))
    assert same_bits(joined(in_batches(assigner.assign, vectors, size)), assign(vectors, centroids))


def test_threads_may_share_an_assigner():
    vectors, centroids, _ = near_ties()
    assigner = Assigner(centroids)
    whole = assigner.assign(vectors)
    with ThreadPoolExecutor(8) as pool:
        for size in (1, 3, 64):
            assert same_bits(joined(list(pool.map(assigner.assign, in_batches(np.copy, vectors, size)))), whole)
