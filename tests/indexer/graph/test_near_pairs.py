"""The nearest neighbors among a set of vectors of few dimensions, beside a comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.graph import near_pairs
from lookalike_indexer.graph.near_pairs import nearest_pairs, rounded
from lookalike_indexer.progress import Silent


def found(vectors, depth):
    with Silent().stage("", None, "image") as bar:
        return nearest_pairs(vectors, depth, bar)


def compared(vectors, depth):
    """Compare all in float64, which holds these sums exactly; ties by row."""
    whole = vectors.astype(np.float64)
    squares = np.square(whole[:, None] - whole).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    return np.argsort(squares, axis=1, kind="stable")[:, :depth]


@pytest.mark.parametrize("scale", [1, 300])
def test_nothing_is_missed_and_ties_go_by_row(clustered, monkeypatch, scale):
    vectors = clustered(500, 12, 9, spread=0.5) * np.float32(scale)
    vectors[[3, 77, 400, 401]] = vectors[10]
    vectors = rounded(vectors)
    expected = compared(vectors, 7)
    assert found(vectors, 7).tolist() == expected.tolist()
    monkeypatch.setattr(near_pairs, "_LEFT", 17)
    monkeypatch.setattr(near_pairs, "_RIGHT", 33)
    monkeypatch.setattr(near_pairs, "processors", lambda: 3)
    assert found(vectors, 7).tolist() == expected.tolist()


def share_found(vectors, depth):
    expected = compared(vectors, depth)
    pairs = zip(found(vectors, depth).tolist(), expected.tolist(), strict=True)
    return np.mean([len(set(one) & set(other)) / depth for one, other in pairs])


def test_nearly_all_are_found_by_a_few_lists_and_the_nearest_of_the_nearest(clustered, monkeypatch):
    vectors = rounded(clustered(1500, 12, 30, spread=0.5))
    monkeypatch.setattr(near_pairs, "_VISITS", (1, 2, 3))
    monkeypatch.setattr(near_pairs, "_FRIENDS", 0)
    by_lists = share_found(vectors, 8)
    monkeypatch.setattr(near_pairs, "_FRIENDS", 6)
    assert share_found(vectors, 8) > max(0.97, by_lists)
    whole = found(vectors, 8)
    monkeypatch.setattr(near_pairs, "_LEFT", 23)
    monkeypatch.setattr(near_pairs, "_RIGHT", 9)
    monkeypatch.setattr(near_pairs, "_WAITING", 100)
    monkeypatch.setattr(near_pairs, "processors", lambda: 3)
    assert found(vectors, 8).tolist() == whole.tolist()


def test_vectors_whose_lists_hold_too_few_are_compared_with_all(clustered, monkeypatch):
    vectors = rounded(clustered(400, 8, 5))
    monkeypatch.setattr(near_pairs, "_VISITS", (1,))
    monkeypatch.setattr(near_pairs, "_FRIENDS", 0)
    monkeypatch.setattr(near_pairs, "_POINTS_PER_LIST", 4)
    lists = near_pairs._Lists.of(vectors)
    short = np.isin(lists.nearest[:, 0], np.flatnonzero(np.diff(lists.starts) <= 20))
    assert short.sum() > 50
    assert found(vectors, 20)[short].tolist() == compared(vectors, 20)[short].tolist()


def test_few_vectors_have_short_lists():
    vectors = rounded(np.eye(3, dtype=np.float32))
    assert found(vectors, 4).tolist() == [[1, 2, -1, -1], [0, 2, -1, -1], [0, 1, -1, -1]]
    assert found(vectors[:1], 2).tolist() == [[-1, -1]]


def test_copies_alone_are_near_each_other():
    assert found(np.zeros((50, 4), np.float32), 3)[:3].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3]]


def test_copies_take_no_more_memory_and_no_neighbor_is_lost(clustered, monkeypatch):
    held = []
    usual = near_pairs._cut

    def watched(pairs, depth):
        held.append(len(pairs))
        return usual(pairs, depth)

    monkeypatch.setattr(near_pairs, "_cut", watched)
    monkeypatch.setattr(near_pairs, "_WAITING", 64)
    monkeypatch.setattr(near_pairs, "_LEFT", 16)
    monkeypatch.setattr(near_pairs, "_RIGHT", 32)
    vectors = clustered(600, 6, 3)
    vectors[100:500] = vectors[100]
    vectors = rounded(vectors)
    assert found(vectors, 5).tolist() == compared(vectors, 5).tolist()
    # What is known of all, as much again, and the pairs of one list: not the 160,000 of the copies.
    assert max(held) < 3 * 600 * 5 + 400 * 5 * 2


def test_very_long_vector_does_not_merge_the_others(clustered):
    vectors = clustered(300, 6, 30)
    vectors[7] *= 5000
    others = np.arange(300) != 7
    assert len(np.unique(rounded(vectors)[others], axis=0)) == 299
