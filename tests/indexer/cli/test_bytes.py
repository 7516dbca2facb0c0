from __future__ import annotations

import click
import pytest

from lookalike_indexer.cli.bytes import Bytes, Pixels


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("500MB", 500_000_000), ("8GiB", 8 << 30), ("8g", 8 << 30), ("1.5 kB", 1500), ("7B", 7)],
)
def test_sizes(text, size):
    assert Bytes().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "many", "-5", "5 apples", "0", "MB", "1e9"])
def test_invalid_size_is_rejected(text):
    with pytest.raises(click.BadParameter, match="write it like 500MB or 8GiB"):
        Bytes().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("134217728", 134_217_728), ("200M", 200_000_000), ("0.5gp", 500_000_000), (" 30 MP ", 30_000_000)],
)
def test_numbers_of_pixels(text, count):
    assert Pixels().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["", "0", "M", "-1", "3MiB", "2T"])
def test_invalid_pixel_count_is_rejected(text):
    with pytest.raises(click.BadParameter, match="write it like 200M"):
        Pixels().convert(text, None, None)
