from __future__ import annotations

import click
import pytest

from lookalike_indexer.cli.bytes import Bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("500MB", 500_000_000), ("8GiB", 8 << 30), ("8g", 8 << 30), ("1.5 kB", 1500), ("7B", 7)],
)
def test_sizes(text, size):
    assert Bytes().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "many", "-5", "5 apples", "0", "MB", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(click.BadParameter, match="write it like 500MB or 8GiB"):
        Bytes().convert(text, None, None)
