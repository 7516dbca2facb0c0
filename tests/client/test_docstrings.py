"""Run the examples of the documentation against a real server and compare their output."""

import doctest
import inspect

import pytest

import lookalike
from lookalike import _request, _sync, _sync_experiments, _sync_methods

FINDER = doctest.DocTestFinder(recurse=False)


def documented(module) -> list[object]:
    """Yield the module, its classes and their methods as written, not as wrapped by decorators."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    methods = [value for each in own if inspect.isclass(each) for value in vars(each).values() if callable(value)]
    return [module, *map(inspect.unwrap, own), *map(inspect.unwrap, methods)]


@pytest.mark.parametrize(
    "module",
    [lookalike, _sync, _sync_methods, _sync_experiments, _request, lookalike.aio],
    ids=lambda module: module.__name__,
)
def test_examples_give_what_they_say(module, toy):
    runner = doctest.DocTestRunner()
    with lookalike.Client(toy.address) as client:
        names = {"client": client, "address": toy.address, "lookalike": lookalike}
        for each in documented(module):
            for test in FINDER.find(each, getattr(each, "__qualname__", module.__name__), module, globs=dict(names)):
                runner.run(test)
    assert runner.tries >= 2
    assert runner.failures == 0
