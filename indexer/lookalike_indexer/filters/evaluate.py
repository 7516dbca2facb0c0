"""Evaluation of a filter to a boolean for each image.

A negation is pushed down to the comparisons, which are never true if there is no value: `not (a < 5 and b = 1)` is true
if `a >= 5 or b != 1` is. This is three-valued logic without storing a third value. Rows are processed in blocks that
fit the CPU cache, so that further terms cost little.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lookalike_indexer.arrays import Bools
from lookalike_indexer.filters.columns import Postings, Test, constant
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.filters.tree import (
    OPPOSITE,
    AllOf,
    AnyOf,
    Assigned,
    Bound,
    Compare,
    Filter,
    Has,
    HasPrediction,
    In,
    InCluster,
    Leaf,
    Not,
    Operator,
    Predicted,
    Present,
)

_BLOCK = 1 << 17


def matching(meaning: Filter, columns: FilterColumns) -> Bools:
    """Return which images match a filter, bool (images,); `meaning` is the result of `meant`."""
    rows = len(columns)
    test = _test(meaning, columns, negated=False)
    found = np.empty(rows, np.bool_)
    for start in range(0, rows, _BLOCK):
        stop = min(start + _BLOCK, rows)
        found[start:stop] = test(start, stop)
    return found


def _test(tree: Filter, columns: FilterColumns, negated: bool) -> Test:
    if isinstance(tree, Not):
        return _test(tree.filter, columns, not negated)
    if isinstance(tree, (AllOf, AnyOf)):
        tests = [_test(one, columns, negated) for one in tree.filters]
        # By De Morgan's laws.
        return _all(tests) if isinstance(tree, AllOf) != negated else _some(tests)
    return _leaf(tree, columns, negated)


def _leaf(leaf: Leaf, columns: FilterColumns, negated: bool) -> Test:
    if isinstance(leaf, InCluster):
        assigned = columns.assignment(leaf.clustering)
        among = [assigned.clusters.test_in(leaf.clusters, negated)] if leaf.clusters else []
        return _bounded(among, assigned.clusters.test_present, assigned.distances.test, leaf.distance, negated)
    if isinstance(leaf, Predicted):
        predicted = columns.prediction(leaf.model)
        among = [predicted.classes.test_in(leaf.classes, negated)] if leaf.classes else []
        return _bounded(among, predicted.classes.test_present, predicted.probabilities.test, leaf.probability, negated)
    if isinstance(leaf, Assigned):
        return columns.assignment(leaf.clustering).clusters.test_present(negated)
    if isinstance(leaf, HasPrediction):
        return columns.prediction(leaf.model).classes.test_present(negated)
    column = columns.column(leaf.column)
    if isinstance(leaf, Compare):
        return column.test(OPPOSITE[leaf.operator] if negated else leaf.operator, leaf.value)
    if isinstance(leaf, In):
        return column.test_in(leaf.values, negated)
    if isinstance(leaf, Present):
        return column.test_present(negated)
    assert isinstance(leaf, Has)  # noqa: S101  # nosec B101
    if not isinstance(column, Postings):
        raise TypeError(f"{leaf.column} has no lists")
    return column.test_has(leaf.value, negated)


def _bounded(
    among: list[Test],
    present: Callable[[bool], Test],
    test: Callable[[Operator, float], Test],
    bound: Bound | None,
    negated: bool,
) -> Test:
    """Return a test of two columns that have values for the same images."""
    tests = list(among)
    if bound is not None:
        tests.append(test(OPPOSITE[bound.operator] if negated else bound.operator, bound.value))
    if not tests:
        # True if there is a value.
        return constant(False) if negated else present(False)
    return _some(tests) if negated else _all(tests)


def _all(tests: list[Test]) -> Test:
    if not tests:
        return constant(True)
    if len(tests) == 1:
        return tests[0]

    def test(start: int, stop: int) -> Bools:
        found = tests[0](start, stop)
        for further in tests[1:]:
            if not found.any():
                break
            found &= further(start, stop)
        return found

    return test


def _some(tests: list[Test]) -> Test:
    if not tests:
        return constant(False)
    if len(tests) == 1:
        return tests[0]

    def test(start: int, stop: int) -> Bools:
        found = tests[0](start, stop)
        for further in tests[1:]:
            found |= further(start, stop)
        return found

    return test
