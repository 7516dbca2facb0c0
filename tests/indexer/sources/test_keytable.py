from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lookalike_indexer.sources.keytable import KeyTable


@given(st.lists(st.text(), unique=True), st.lists(st.text()))
def test_finds_what_a_dict_finds(keys: list[str], wanted: list[str]):
    numbers = {key: number for number, key in enumerate(keys)}
    asked = [*wanted, *keys]
    assert KeyTable(keys).find(asked).tolist() == [numbers.get(key, -1) for key in asked]
    assert KeyTable(keys).first_duplicate() is None


@given(st.lists(st.sampled_from("abcdefgh"), min_size=9))
def test_finds_the_first_key_that_repeats(keys: list[str]):
    first = next(number for number in range(len(keys)) if keys[number] in keys[:number])
    assert KeyTable(keys).first_duplicate() == (keys.index(keys[first]), first)
