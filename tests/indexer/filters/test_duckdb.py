"""Filters mean the same as in DuckDB: three-valued logic, in which only true matches."""

from __future__ import annotations

import datetime as dt
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.indexer.filters.conftest import TAGS, TEXTS

from lookalike_indexer.filters.evaluate import matching
from lookalike_indexer.filters.meaning import resolve_names
from lookalike_indexer.filters.text import parse
from lookalike_indexer.filters.tree import (
    OPERATORS,
    AllOf,
    AnyOf,
    Assigned,
    Bound,
    Compare,
    Has,
    HasPrediction,
    In,
    InCluster,
    Not,
    Predicted,
    Present,
    canonical,
)
from lookalike_indexer.filters.write_text import as_text

# DuckDB compares integers with floats as floats, which are exact up to this bound.
INTEGERS = [-(2**63), -4, -3, 0, 1, 2, 3, 2**53, 2**63 - 1]
NUMBERS = [-3.0, -1.5, 0.0, 0.5, 1.0, 2.5, 3.0, 1e300]
TIMES = ["2026-01-01", "2026-01-01 12:00", "2026-01-02T00:00:00Z", "2026-01-02 14:00:00+02:00", "1999-12-31"]
VALUES = {
    "whole": st.sampled_from(INTEGERS),
    "price": st.sampled_from([*NUMBERS, -3, 0, 1, 2]),
    "text": st.sampled_from([*TEXTS, "zz"]),
    "label": st.sampled_from(["cat", "dog", "bird", "cow"]),
    "key": st.sampled_from(["00001.jpg", "00301.jpg", "x"]),
    "taken": st.sampled_from(TIMES),
    "id": st.sampled_from([1, 4, 5, 301]),
    "odd name": st.sampled_from([-1, 0, 150, 299]),
}


def compares(name):
    return st.builds(Compare, st.just(name), st.sampled_from(OPERATORS), VALUES[name])


def ins(name):
    return st.builds(In, st.just(name), st.lists(VALUES[name], min_size=1, max_size=4).map(tuple))


BOUNDS = st.builds(Bound, st.sampled_from(OPERATORS), st.sampled_from([0.0, 0.25, 0.45, 1.0, 1.75]))
LEAVES = st.one_of(
    st.sampled_from(sorted(VALUES)).flatmap(compares),
    st.sampled_from(sorted(VALUES)).flatmap(ins),
    st.builds(Compare, st.just("flag"), st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(Has, st.just("tags"), st.sampled_from([*TAGS, "zz"])),
    st.builds(Present, st.sampled_from([*VALUES, "flag", "tags"])),
    st.builds(
        InCluster,
        st.just("tiny/five"),
        st.lists(st.integers(0, 6), max_size=3).map(tuple),
        st.none() | BOUNDS,
    ).filter(lambda leaf: leaf.clusters or leaf.distance),
    st.builds(
        Predicted,
        st.just("tiny"),
        st.lists(st.sampled_from(["tabby", "jay", "x"]), max_size=2).map(tuple),
        st.none() | BOUNDS,
    ).filter(lambda leaf: leaf.classes or leaf.probability),
    st.just(Assigned("tiny/five")),
    st.just(HasPrediction("tiny")),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def sql(tree):
    """Return the tree in DuckDB's SQL."""
    if isinstance(tree, Not):
        return f"(not {sql(tree.filter)})"
    if isinstance(tree, (AllOf, AnyOf)):
        return "(" + (" and " if isinstance(tree, AllOf) else " or ").join(map(sql, tree.filters)) + ")"
    if isinstance(tree, Has):
        return f"list_contains(tags, {text(tree.value)})"
    if isinstance(tree, InCluster):
        return both(among("cluster", tree.clusters), bound("distance", tree.distance))
    if isinstance(tree, Predicted):
        return both(among("predicted", tree.classes), bound("probability", tree.probability))
    if isinstance(tree, Assigned):
        return "(cluster is not null)"
    if isinstance(tree, HasPrediction):
        return "(predicted is not null)"
    name = f'"{tree.column}"'
    if isinstance(tree, Present):
        return f"({name} is not null)"
    if isinstance(tree, In):
        return among(name, tree.values)
    return f"({name} {tree.operator} {text(tree.value)})"


def among(name, values):
    return f"({name} in ({', '.join(map(text, values))}))" if values else ""


def bound(name, limit):
    return f"({name} {limit.operator} {limit.value!r}::float)" if limit else ""


def both(one, other):
    return f"({one} and {other})" if one and other else one or other


def text(value):
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value!r}::double"
        if isinstance(value, float)
        else repr(value)
    )


@pytest.fixture
def duck(shop):
    """Return the rows that DuckDB finds with a filter in SQL, bool (images,)."""
    types = {
        "whole": pa.int64(),
        "price": pa.float64(),
        "flag": pa.bool_(),
        "text": pa.string(),
        # DuckDB's name of a timestamp is TIMESTAMPTZ.
        "taken": pa.timestamp("us", "UTC"),
        "tags": pa.list_(pa.string()),
        "cluster": pa.int32(),
        "distance": pa.float32(),
        "probability": pa.float32(),
    }
    columns = {name: pa.array(values, types.get(name)) for name, values in shop.rows.items()}
    known = pa.table(columns)
    with duckdb.connect() as base:
        base.execute("set timezone = 'UTC'")
        base.register("known", known)
        base.execute("create table images as select * from known")

        def found(where):
            ids = [row[0] for row in base.execute(f"select id from images where {where}").fetchall()]
            return np.isin(np.array(shop.rows["id"]), ids)

        yield found


def ours(shop, tree):
    return matching(resolve_names(tree, shop.columns), shop.columns)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_filter_finds_what_duckdb_finds(shop, duck, tree):
    expected = duck(sql(tree))
    assert np.array_equal(ours(shop, tree), expected), sql(tree)
    # The same filter as text, and in another order.
    assert np.array_equal(ours(shop, parse(as_text(tree))), expected), as_text(tree)
    assert np.array_equal(ours(shop, canonical(tree)), expected)


@settings(max_examples=200)
@given(tree=TREES)
def test_text_of_a_filter_parses_to_the_same_filter(tree):
    assert canonical(parse(as_text(tree))) == canonical(split(tree))
    assert canonical(canonical(tree)) == canonical(tree)


def split(tree):
    """Return the tree with the two halves of a leaf separated, as in a text."""
    if isinstance(tree, Not):
        return Not(split(tree.filter))
    if isinstance(tree, (AllOf, AnyOf)):
        return type(tree)(tuple(map(split, tree.filters)))
    if isinstance(tree, InCluster) and tree.clusters and tree.distance:
        return AllOf((InCluster(tree.clustering, tree.clusters), InCluster(tree.clustering, (), tree.distance)))
    if isinstance(tree, Predicted) and tree.classes and tree.probability:
        return AllOf((Predicted(tree.model, tree.classes), Predicted(tree.model, (), tree.probability)))
    if isinstance(tree, In) and len(tree.values) == 1:
        return Compare(tree.column, "=", tree.values[0])
    return tree


WORDS = (
    ("label in ('cat','dog') and price < 20 and not (text = 'a')", None),
    ("tags has 'sale' or not tags has 'new'", "list_contains(tags, 'sale') or not list_contains(tags, 'new')"),
    ("price between 0 and 2.5", None),
    ("price not between 0 and 2.5", None),
    ("taken between '2026-01-01 12:00' and timestamp '2026-01-02'", None),
    ("flag", None),
    ("not flag and whole is not null", None),
    ("2 > whole", None),
    ("whole <> 2 and whole > 1.5", None),
    ("whole < 99999999999999999999 and whole > -99999999999999999999", "whole is not null"),
    ("whole = 1.5 or whole != 1.5", "whole is not null"),
    ("whole >= 0.5 and whole < 2.5", None),
    ("cluster() = 3 and cluster('five') in (3, 4) and distance < 1.75", "cluster = 3 and distance < 1.75"),
    ("cluster = 99999999999 or cluster is null", "cluster is null"),
    ("predicted('tiny') = 'tabby' and probability > 0.25", "predicted = 'tabby' and probability > 0.25"),
    ("predicted not in ('tabby', 'jay')", None),
    ("label = 'nobody' or key = 'nobody' or tags has 'nobody'", "false"),
    ("\"odd name\" < 5 and key >= '00004.jpg'", None),
    ("price = 1e300 or price > 1e300", None),
    ("width = 64 and height = 64 and format = 'JPEG' and bytes = 10", "true"),
    ("key not in ('00001.jpg', '00004.jpg') and label is null", None),
)


def test_words(shop, duck):
    for words, where in WORDS:
        assert np.array_equal(ours(shop, parse(words)), duck(where or words)), words


def test_lists_and_sets_without_anything(shop):
    nothing, everything = partial(ours, shop, AnyOf(())), partial(ours, shop, AllOf(()))
    assert (nothing().sum(), everything().sum()) == (0, 300)
    assert ours(shop, In("label", ())).sum() == ours(shop, parse(as_text(AnyOf(())))).sum() == 0
    assert ours(shop, parse(as_text(AllOf(())))).all()


def test_values_of_columns_are_what_was_attached(shop):
    rows = np.array([5, 0, 299, 7, 7])
    for name in ("whole", "price", "flag", "text", "taken", "tags", "label", "key", "odd name"):
        expected = [shop.rows[name][row] for row in rows.tolist()]
        assert shop.columns.column(name).take(rows).to_pylist() == expected, name
    assert shop.columns.column("tags").take(np.array([], np.int64)).to_pylist() == []
    assert shop.columns.column("taken").take(rows).type == pa.timestamp("us")
    assert isinstance(shop.rows["taken"][1], (dt.datetime, type(None)))


def test_images_added_have_no_values(shop, grow_collection):
    grow_collection(shop.storage, np.ones((3, 4), np.float32))
    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.filters.sources import FilterColumns

    columns = FilterColumns(CollectionReader.open(str(shop.storage.root)))
    for name in ("whole", "price", "flag", "text", "taken", "tags"):
        found = matching(resolve_names(Not(Present(name)), columns), columns)
        assert (len(found), bool(found[-3:].all())) == (303, True)
