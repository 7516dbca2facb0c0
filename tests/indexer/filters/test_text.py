"""The parser's messages for invalid filters, and the limits."""

from __future__ import annotations

import pytest

from lookalike_indexer.errors import NotBuiltError, NotFoundError
from lookalike_indexer.filters.errors import FilterError
from lookalike_indexer.filters.meaning import resolve_names
from lookalike_indexer.filters.text import parse
from lookalike_indexer.filters.tree import AllOf, AnyOf, Compare, In, Not
from lookalike_indexer.filters.write_text import as_text


def test_and_binds_tighter_than_or():
    assert parse("a = 1 or b = 2 and not c = 3") == AnyOf(
        (Compare("a", "=", 1), AllOf((Compare("b", "=", 2), Not(Compare("c", "=", 3)))))
    )


def test_words_are_read_in_any_case_and_names_in_their_own():
    assert parse('Price IN (1) AND NOT "in" IS NULL') == AllOf((In("Price", (1,)), Not(Not(parse('"in" is not null')))))


@pytest.mark.parametrize(
    ("text", "character", "sentence"),
    [
        ("", 1, "The filter is empty"),
        ("  ", 3, "The filter is empty"),
        ("price <", 8, "The end stands where a value is expected"),
        ("price < 'a", 9, "opens a quote that is not closed"),
        ('label = "cat"', 9, "is not a value; put a text in single quotes"),
        ("price = null", 9, "write: is null"),
        ("price in 3", 10, "A list stands in brackets"),
        ("price in ()", 11, "')' stands where a value is expected"),
        ("price in (3", 12, 'The list is not closed; ")" is expected before the end'),
        ("(a = 1", 7, "The bracket is not closed"),
        ("a = 1 b", 7, "'b' does not continue the filter"),
        ("key like 'a%'", 5, "There is no operator 'like'; use =, !=, <, <=, >, >=, in, between, has or is null"),
        ("a = 1 and price above 3", 17, "There is no operator 'above'; use ="),
        ("sharp price < 3", 7, 'or put "and" or "or" between two conditions'),
        ("near('x') = 1", 5, "There is no function 'near'; the functions are: cluster, distance, predicted"),
        ("a = 1e999", 5, "1e999 is beyond the largest number"),
        ("a = " + "9" * 41, 5, "more than 40 digits"),
        ("a = 1.2.3", 5, "'1' means nothing here"),
        ("a = 1 && b = 2", 7, "'&' means nothing here; write: and"),
        ("a = 1 || b = 2", 7, "'|' means nothing here; write: or"),
        ("!a", 1, "'!' means nothing here; write: not"),
        ("a ~ 3", 3, "'~' means nothing here"),
        ("a between 1 or 2", 13, "'or' stands where \"and\" is expected"),
        ("a is nil", 6, "'nil' stands where \"null\" is expected"),
        ("a not 3", 7, "it is followed by in, between or has"),
        ("cluster(3) = 3", 9, "cluster takes a name in single quotes"),
        ("cluster = 'x'", 1, "Clusters are whole numbers"),
        ("predicted > 'x'", 1, "is compared with = or !="),
        ("b = 1 and probability = 'x'", 11, "A probability is compared with a number"),
        ("distance", 9, "The value to compare distance with is missing"),
        ("distance has 'x'", 1, "A column has a text"),
        ("tags has 3", 1, "A column has a text"),
        ("distance in (1)", 1, "A distance is compared with a number"),
        ("(" * 33 + "a = 1" + ")" * 33, 33, "more than 32 levels"),
        ("not " * 33 + "a = 1", 129, "more than 32 levels"),
        (" or ".join(["a = 1"] * 1000), 8992, "more than 1,000 expressions"),
    ],
)
def test_filter_errors_name_the_position(text, character, sentence):
    with pytest.raises(FilterError) as told:
        parse(text)
    assert sentence in str(told.value)
    assert str(told.value).endswith(f"(at character {character} of the filter).")
    assert told.value.at.character == character


def test_filters_up_to_the_size_limit_are_parsed():
    assert parse("not " * 30 + "(a = 1)") is not None
    assert len(parse(" or ".join(["a = 1"] * 998)).filters) == 998
    with pytest.raises(FilterError, match="more than 64 KiB"):
        parse("a in (" + ",".join(["1"] * 40_000) + ")")


MEANINGLESS = (
    (
        "prize < 3",
        "There is no column 'prize'; did you mean 'price'? The columns are: id, key, label, width, height, bytes",
    ),
    ("PRICE < 3", "There is no column 'PRICE'; did you mean 'price'?"),
    (
        "a = 1 and price < 'x'",
        "There is no column 'a'; the columns are: id, key, label, width, height, bytes",
    ),
    ("price < 'x'", "The column 'price' is float64; it is compared with a number, not with 'x'"),
    ("whole = true", "The column 'whole' is int64; it is compared with a number, not with True"),
    ("text in ('a', 3)", "The column 'text' is string; it is compared with a text in single quotes, not with 3"),
    ("flag = 1", "The column 'flag' is bool; it is compared with true or false, not with 1"),
    ("flag < true", "compare it with = or !="),
    ("text", "The column 'text' is string; it is compared with a text"),
    ("taken > 3", "The column 'taken' is timestamp; it is compared with a time in single quotes, such as"),
    ("taken > '2026-02-30'", "not with '2026-02-30'"),
    ("tags = 'a'", "The column 'tags' is a list, which is not compared; write: tags has 'text'"),
    ("text has 'a'", "The column 'text' is string; only a list has texts"),
)


def test_filter_that_does_not_fit_the_collection_is_rejected(shop):
    for text, sentence in MEANINGLESS:
        with pytest.raises(FilterError) as found:
            resolve_names(parse(text), shop.columns)
        assert sentence in str(found.value), text


def test_missing_clusterings_and_models_are_rejected(shop):
    with pytest.raises(NotFoundError, match="no clustering 'tiny/nine'; it has: tiny/five"):
        resolve_names(parse("cluster('tiny/nine') = 3"), shop.columns)
    with pytest.raises(NotFoundError, match="no model 'nine'; it has: tiny"):
        resolve_names(parse("predicted('nine') = 'tabby'"), shop.columns)


def test_probability_without_a_model_is_of_the_one_that_the_filter_names(shop, publish_model):
    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.filters.sources import FilterColumns

    publish_model(shop.storage, "second", [[1, 2]] * 300)
    columns = FilterColumns(CollectionReader.open(str(shop.storage.root)))
    tree = resolve_names(parse("predicted('second') = 'class 1' and probability > 0.3"), columns)
    assert as_text(tree) == "predicted('second') = 'class 1' and probability('second') > 0.3"
    assert as_text(resolve_names(parse("probability > 0.3"), columns)) == "probability('tiny') > 0.3"
    with pytest.raises(FilterError, match="several models, second, tiny; say which one is meant"):
        resolve_names(parse("predicted('second') = 'a' or predicted('tiny') = 'b' or probability > 0.5"), columns)


def test_model_without_predictions_is_reported(make_collection):
    import numpy as np

    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.filters.sources import FilterColumns

    storage = make_collection(np.ones((3, 4), np.float32))
    columns = FilterColumns(CollectionReader.open(str(storage.root)))
    with pytest.raises(NotBuiltError, match="The model tiny keeps no predictions; models that do: none"):
        resolve_names(parse("predicted = 'a'"), columns)
    with pytest.raises(NotBuiltError, match="has no clustering; make one with: lookalike cluster"):
        resolve_names(parse("cluster = 1"), columns)


def test_plan_shows_the_first_values_of_a_long_list():
    assert as_text(parse("a in (1, 2, 3, 4)"), most=2) == "a in (1, 2, and 2 more)"
