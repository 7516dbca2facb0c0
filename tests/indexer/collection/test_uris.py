from __future__ import annotations

import pytest

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.uris import absolute, root


@pytest.mark.parametrize(
    ("kind", "folder"),
    [("directory", "/a/b.c"), ("shards", "/a/b.c"), ("list", "/a"), ("parquet", "/a"), ("tar", "/a"), ("zip", "/a")],
)
def test_relative_uris_start_from_the_root_and_others_are_left(kind, folder):
    source = SourceEntry(kind, "/a/b.c")
    assert root(source) == folder
    assert absolute(source, "d/e.jpg") == f"{folder}/d/e.jpg"
    assert absolute(source, "/x/y.jpg") == "/x/y.jpg"
    assert absolute(source, "") == ""
