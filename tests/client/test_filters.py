"""Expressions of columns: the filter tree that they build, and invalid ones."""

from __future__ import annotations

import datetime as dt
import enum
import pickle

import numpy as np
import pytest

import lookalike
from lookalike import InvalidArgumentError, cluster, column, distance, predicted, probability
from lookalike.v1 import filter_pb2
from lookalike_indexer.filters.write_text import as_text
from lookalike_server.filters.reading import read


def words(where) -> str:
    """Return an expression as the server parses it."""
    from lookalike._filters import message_of

    message = message_of(where)
    return as_text(read(filter_pb2.Filter.FromString(message.SerializeToString())))


class Color(enum.IntEnum):
    RED = 3


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (column("price") < 20, "price < 20"),
        (column("price") >= np.float32(0.5), "price >= 0.5"),
        (20 > column("price"), "price < 20"),  # noqa: SIM300
        (column("odd name") != "it's", "\"odd name\" != 'it''s'"),
        (column("stock") == Color.RED, "stock = 3"),
        (column("sharp") == np.True_, "sharp = true"),
        (column("taken") > dt.date(2026, 1, 2), "taken > '2026-01-02'"),
        (column("taken") <= dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "taken <= '2026-01-02T03:00:00+00:00'"),
        (column("taken") == np.datetime64("2026-01-02"), "taken = '2026-01-02T00:00:00.000000'"),
        (column("label").isin(["cat", "dog"]), "label in ('cat', 'dog')"),
        (column("price").isin(np.array([1, 2])), "price in (1, 2)"),
        (column("sharp").isin([True, False]), "sharp = true or sharp = false"),
        (column("price").isin([]), "id is null"),
        (column("price").between(1, 2), "price >= 1 and price <= 2"),
        (column("tags").has("sale"), "tags has 'sale'"),
        (column("price").is_null(), "not price is not null"),
        (column("price").is_present(), "price is not null"),
        (~column("sharp"), "not sharp = true"),
        (column("sharp"), "sharp = true"),
        (column("sharp") & (column("a") < 1) & "b = 2", "sharp = true and a < 1 and b = 2"),
        ("b = 2 or c = 3" & column("sharp"), "(b = 2 or c = 3) and sharp = true"),
        ((column("a") < 1) | "b" | column("c"), "a < 1 or b = true or c = true"),
        ("a" | column("c"), "a = true or c = true"),
        (lookalike.Filter("a < 1") & ("b" | column("c")), "a < 1 and (b = true or c = true)"),
        (cluster("a/b") == 3, "cluster('a/b') = 3"),
        (cluster().isin([3, 7]), "cluster in (3, 7)"),
        (cluster("a/b") != 3, "not cluster('a/b') = 3"),
        (cluster("a/b").isin([]), "id is null"),
        (cluster("a/b").is_null(), "not cluster('a/b') is not null"),
        (distance("a/b").between(0.5, 1), "distance('a/b') >= 0.5 and distance('a/b') <= 1.0"),
        ((predicted("m") == "tabby") & (probability() > 0.8), "predicted('m') = 'tabby' and probability > 0.8"),
        (predicted().is_null() | (probability("m") <= 1), "not predicted('') is not null or probability('m') <= 1.0"),
        ("price < 20", "price < 20"),
    ],
)
def test_expression_is_what_its_text_says(where, text):
    assert words(where).replace("predicted('')", "predicted") == text.replace("predicted('')", "predicted")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: column("price") == None, "is_null"),  # noqa: E711
        (lambda: column("price") < float("nan"), "Cannot compare with NaN"),
        (lambda: column("price") < 2**63, "does not fit into 64 bits"),
        (lambda: column("price") < [1], "A column is compared with bool, int, float, str or a time"),
        (lambda: column("price").isin("abc"), "isin() takes a sequence"),
        (lambda: column("tags").has(3), "has() takes a str"),
        (lambda: column(""), "The name of a column"),
        (lambda: column("a") == "\ud800", "is not valid Unicode"),
        (lambda: cluster("a/b") == "3", "Clusters are integers"),
        (lambda: predicted("m") == 3, "A class name must be a str"),
        (lambda: probability("m") > "x", "A probability is compared with a number"),
        (lambda: (column("a") < 1) & 3, "A filter is a str or an expression"),
    ],
)
def test_invalid_expression_is_rejected_when_it_is_made(make, sentence):
    with pytest.raises(InvalidArgumentError) as error:
        make()
    assert sentence in str(error.value)


def test_expression_is_neither_true_nor_false():
    for wrong in (lambda: not (column("a") < 1), lambda: 1 < column("a") < 3, lambda: column("a") and 1):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError, match=r"join filters by &, \| and ~"):
        bool(column("a") < 1)


def test_expression_is_pickled():
    where = pickle.loads(pickle.dumps((column("a") < 1) | "b"))  # noqa: S301
    assert words(where) == "a < 1 or b = true"


def test_calls_send_the_filter_and_the_columns(client, toy):
    list(client.images(where=column("price") < 20, fields="*"))
    list(client.members("toy/halves", 1, where="price < 20", fields=["price"]))
    client.list_clusters("toy/halves", where="price < 20")
    client.clusters(key="dogs/01.jpg", where="price < 20", fields=["price", "tags"])
    client.lookup(key="dogs/01.jpg", fields="price")
    images, members, sizes, home, looked = toy.requests
    assert [as_text(read(each.filter)) for each in (images, members, sizes, home)] == ["price < 20"] * 4
    assert [list(each.fields) for each in (images, members, home, looked)] == [
        ["*"], ["price"], ["price", "tags"], ["price"],
    ]  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="fields= takes the names of columns"):
        client.lookup(key="dogs/01.jpg", fields=[3])


def test_columns_of_a_reply_have_values_or_none(client, toy):
    from lookalike import wire

    def with_columns(method, reply):
        if method == "ListImages":
            rows = len(reply.images.keys)
            reply.images.attributes.add(
                name="price", type="float64", numbers=wire.encode(np.arange(rows) / 2), nulls=wire.encode(np.array([1]))
            )
            reply.images.attributes.add(
                name="taken", type="timestamp", numbers=wire.encode(np.arange(rows, dtype=np.int64) * 1_500_000)
            )
            reply.images.attributes.add(
                name="tags", type="list<string>", texts=["a"] * (rows - 1),
                offsets=wire.encode(np.array([0, 0, *range(1, rows)], np.int64)),
            )  # fmt: skip
            reply.images.attributes.add(name="width", type="string", texts=["wide"] * rows)

    toy.change = with_columns
    page = next(iter(client.images(fields="*", page_size=4).pages())).items
    assert page.attributes["price"] == (0.0, None, 1.0, 1.5)
    assert page.attributes["taken"][1] == dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.UTC)
    assert page.attributes["tags"] == ((), ("a",), ("a",), ("a",))
    assert page[2:].attributes["price"] == (1.0, 1.5)
    assert page[1].attributes == {
        "price": None, "taken": page.attributes["taken"][1], "tags": ("a",), "width": "wide",
    }  # fmt: skip
    table = page.to_arrow()
    assert table.column_names[-4:] == ["price", "taken", "tags", "@width"]
    assert list(page.to_pandas()["tags"]) == [(), ("a",), ("a",), ("a",)]


def test_columns_that_do_not_fit_are_rejected(client, toy):
    toy.change = lambda method, reply: reply.images.attributes.add(name="price", type="string", texts=["x"])
    with pytest.raises(lookalike.ProtocolError, match="11 rows have 1 values of 'price'"):
        list(client.images())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"key": "a", "max_distance": -1}, "max_distance=-1 must be a number of at least 0"),
        ({"key": "a", "max_distance": float("nan")}, "max_distance=nan"),
        ({"key": "a", "per_group": 2}, "it goes with group_by="),
        ({"key": "a", "group_by": ""}, "must be the name of a column"),
        ({"key": "a", "box": (1, 2, 3, 4)}, "box= goes with image="),
        ({"image": b"x", "box": (1, 2, 0, 4)}, "A box is (x, y, width, height)"),
        ({"images": [b"x"], "boxes": [None, None]}, "2 boxes for 1 images"),
        ({"keys": ["a"], "weights": (1, 1, 1)}, "weights= requires not_keys="),
        ({"not_keys": []}, "at least one key"),
        ({"not_keys": "abc"}, "takes a sequence of keys"),
        ({"keys": ["a"], "not_keys": ["b"], "weights": (1, -1, 1)}, "three numbers of at least 0"),
        ({"ids": [1, 2], "not_keys": ["b"]}, "Examples move one query"),
    ],
)
def test_invalid_search_arguments_are_rejected(client, arguments, sentence):
    with pytest.raises(InvalidArgumentError) as error:
        client.search(**arguments)
    assert sentence in str(error.value)


def test_search_by_examples_sends_them_beside_its_query(client, toy):
    client.search(key="dogs/01.jpg", keys=["cats/05.jpg"], not_keys=["cats/06.jpg"], weights=(1, 2, 3))
    sent = toy.requests[0]
    assert (list(sent.feedback.keys), list(sent.feedback.not_keys)) == (["cats/05.jpg"], ["cats/06.jpg"])
    assert (sent.feedback.query_weight, sent.feedback.weight, sent.feedback.not_weight) == (1, 2, 3)
    assert list(sent.query.keys.values) == ["dogs/01.jpg"]


def test_vectors_that_do_not_fit_are_rejected(client, toy):
    from lookalike import wire

    def change(method, reply):
        reply.neighbors.vectors.CopyFrom(wire.encode(np.zeros((3, 2), np.float32)))

    toy.change = change
    with pytest.raises(lookalike.ProtocolError, match="2 rows have other vectors"):
        client.search(key="dogs/01.jpg", k=2, with_vectors=True)
