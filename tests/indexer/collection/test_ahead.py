from __future__ import annotations

import threading

import pytest

from lookalike_indexer.collection.ahead import read_ahead


def test_items_are_yielded_in_order_with_at_most_two_read_ahead():
    most = taken = 0
    begun = 0
    lock = threading.Lock()

    def read(source: int) -> int:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - taken)
        return source * source

    found = []
    for square in read_ahead(read, range(20)):
        found.append(square)
        with lock:
            taken += 1
    assert found == [number * number for number in range(20)]
    # The item that the caller works on, and two more.
    assert most <= 3


def test_next_is_read_while_the_caller_works():
    second = threading.Event()

    def read(source: int) -> int:
        if source == 1:
            second.set()
        return source

    numbers = read_ahead(read, range(3))
    assert next(numbers) == 0
    assert second.wait(10)
    assert list(numbers) == [1, 2]


def test_error_is_raised_in_order_and_ends_the_iterator():
    def read(source: int) -> int:
        if source == 2:
            raise OSError("gone")
        return source

    numbers = read_ahead(read, range(100))
    assert [next(numbers), next(numbers)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(numbers)
    assert list(numbers) == []


def test_closing_the_iterator_ends_its_thread():
    numbers = read_ahead(lambda source: source, range(100))
    next(numbers)
    assert any(thread.name.startswith("read ahead") for thread in threading.enumerate())
    numbers.close()
    assert not any(thread.name.startswith("read ahead") for thread in threading.enumerate())
