"""Exact comparison of pairs of vectors in float64, each pair separately (rowwise.py).

A matrix product in float32 only proposes which pairs may matter.
"""

from __future__ import annotations

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import rowwise
from lookalike_indexer.vectors.rounding import to_distance


def costs(left: Float32, left_rows: Int64, right: Float32, right_rows: Int64, metric: Metric) -> Float64:
    """Return the cost of left[left_rows[i]] and right[right_rows[i]] for each i, both prepared for the metric, shape
    (pairs,).

    A cost is the negative inner product (cosine) or the squared distance (l2): the lower, the nearer.
    """
    if metric == "l2":
        return rowwise.squared_distances(left, left_rows, right, right_rows)
    return -rowwise.inner_products(left, left_rows, right, right_rows)


def distances(left: Float32, left_rows: Int64, right: Float32, right_rows: Int64, metric: Metric) -> Float32:
    """Return the costs of `costs` as the float32 distances that callers see."""
    return to_distance(costs(left, left_rows, right, right_rows, metric), metric)


def distances_of_each(left: Float32, right: Float32, metric: Metric) -> Float32:
    """Return the distances of left[i] (n, dim) and each row of right[i] (n, m, dim), shape (n, m).

    They are bit-identical to `distances`, and faster: the chosen rows are not copied first.
    """
    if metric == "l2":
        return to_distance(rowwise.squared_distances_of_each(left, right), metric)
    return to_distance(-rowwise.inner_products_of_each(left, right), metric)
