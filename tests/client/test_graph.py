"""The stored graph through the clients."""

from __future__ import annotations

import numpy as np
import pytest

import lookalike


def test_lists_of_images_and_of_all_are_read_page_by_page(client, toy):
    some = list(client.graph(keys=["cats/09.jpg", "dogs/00.jpg"], k=2))
    assert [(each.id, each.key) for each in some] == [(9, "cats/09.jpg"), (0, "dogs/00.jpg")]
    assert some[1].neighbors.tolist() == [1, 2]
    assert some[1].distances.dtype == np.float32
    assert next(iter(client.graph(id=0, k=2))).neighbors.tolist() == [1, 2]
    pages = list(client.graph(page_size=4).pages())
    assert [len(page.items) for page in pages] == [4, 4, 3]
    first = pages[0].items
    assert (first.neighbors.shape, first.metric, first.method, first.recall) == ((4, 3), "cosine", "index", 0.97)
    assert toy.calls.count("ListGraph") == 5
    assert "<GraphLists 4 x 3: 'dogs/00.jpg'" in repr(first)


def test_wrong_arguments_are_reported(client):
    for wrong in ({"key": "a", "id": 1}, {"keys": []}, {"key": "dogs/00.jpg", "k": 0}):
        with pytest.raises(lookalike.InvalidArgumentError):
            list(client.graph(**wrong))
