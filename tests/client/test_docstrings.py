"""The examples of the documentation run against a real server and give what they say."""

import doctest

import pytest

import lookalike
from lookalike import _sync, _sync_experiments


@pytest.mark.parametrize(
    "module",
    [lookalike, _sync, _sync_experiments, lookalike.aio],
    ids=lambda module: module.__name__,
)
def test_examples_give_what_they_say(module, toy):
    with lookalike.Client(toy.address) as client:
        names = {"client": client, "address": toy.address}
        result = doctest.testmod(module, extraglobs=names)
    assert result.attempted >= 3
    assert result.failed == 0
