"""The bound on the texts of a reply holds for every choice of images, and one choice reaches it."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.v1 import search_pb2
from lookalike_server.columns.text_sizes import TextSizes, encoded_lengths

TEXTS = ["", "a", "é" * 63, "b" * 127, "c" * 128, "d" * 16_383, "e" * 16_384, "a", "", "\U0001f600" * 40]


def size(texts: list[str]) -> int:
    return len(search_pb2.Neighbors(keys=texts).SerializeToString())


@pytest.mark.parametrize("images", range(len(TEXTS) + 1))
def test_size_estimate_uses_the_longest_texts(images: int) -> None:
    longest = sorted(TEXTS, key=lambda text: -len(text.encode()))[:images]
    assert TextSizes(encoded_lengths(TEXTS)).of(images) == size(longest)


def test_sizes_beyond_the_examined_texts_are_an_upper_bound() -> None:
    sizes = TextSizes(encoded_lengths(TEXTS), most=3)
    assert sizes.of(3) == TextSizes(encoded_lengths(TEXTS)).of(3)
    assert sizes.of(9) >= size(TEXTS[:9])


def test_collection_without_images_has_no_texts() -> None:
    empty = TextSizes(np.empty(0, np.int64))
    assert (empty.of(0), empty.of(5)) == (0, 0)
