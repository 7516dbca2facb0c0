"""Fuzz filters, as text and as trees: bytes are a filter or one of our errors, and keep their meaning as text."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.message import DecodeError
from tests.fuzz.targets.folders import own_folder
from tests.fuzz.targets.toys import toy

from lookalike.v1 import filter_pb2
from lookalike_indexer.attributes.attach import attach
from lookalike_indexer.attributes.table import TableColumns
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotBuiltError, NotFoundError
from lookalike_indexer.filters.errors import FilterError
from lookalike_indexer.filters.evaluate import matching
from lookalike_indexer.filters.meaning import resolve_names
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.filters.text import parse
from lookalike_indexer.filters.tree import MOST_BYTES, Bound, Compare, Filter, In, canonical, leaves
from lookalike_indexer.filters.write_text import as_text
from lookalike_indexer.progress import Silent
from lookalike_server.filters.reading import read

_WORDS = (
    "label in ('label1','it''s') and price < 20 and not (split = 'test')",
    "tags has 'sale' or taken between '2026-01-01' and timestamp '2026-02-01T00:00:00Z'",
    "cluster('tiny/k3') in (1, 2) and predicted('tiny') = 'class 3' and probability >= .25",
    'sharp and not sharp is null or distance <> 1e-3 or "price" != -4',
    "id not in (5, 7) and key > 'label' and width = 40.0 and cluster is not null",
)


def _columns() -> FilterColumns:
    reader = CollectionReader.open(str(toy()))
    table = pa.table(
        {
            "file": reader.images(["key"]).column("key").slice(0, 30),
            "price": [None if row % 4 == 0 else row / 2 for row in range(30)],
            "split": ["train", "test", None] * 10,
            "sharp": [True, None, False] * 10,
            "tags": [["sale"], None, ["new", "it's"]] * 10,
            "taken": [dt.datetime(2026, 1, 1 + row) for row in range(30)],
        }
    )
    path = own_folder("filter") / "shots.parquet"
    pq.write_table(table, path)
    latest = generations.require_latest(reader.storage)
    draft, _ = attach(reader.storage, latest, path, "shots", TableColumns("file"), Silent())
    generations.publish(reader.storage, draft)
    return FilterColumns(CollectionReader.open(str(toy())))


_COLUMNS = _columns()


def target(data: bytes) -> None:
    tree = _read(data)
    if tree is None:
        return
    other = canonical(tree)
    assert canonical(other) == other
    words = as_text(tree)
    if len(words.encode(errors="replace")) <= MOST_BYTES // 2 and _is_plain(tree):
        # A tree may have too many levels for a text.
        with contextlib.suppress(FilterError):
            canonical(parse(words))
    try:
        meaning = resolve_names(tree, _COLUMNS)
    except (FilterError, NotFoundError, NotBuiltError):
        return
    found = matching(meaning, _COLUMNS)
    assert np.array_equal(found, matching(canonical(meaning), _COLUMNS))


def _read(data: bytes) -> Filter | None:
    try:
        if data[:1] == b"t":
            return parse(data[1:].decode(errors="replace"))
        return read(filter_pb2.Filter.FromString(data[1:]))
    except (FilterError, DecodeError):
        return None


def _is_plain(tree: Filter) -> bool:
    """Return True if a text can express the filter, which excludes infinity."""
    for leaf in leaves(tree):
        values = [leaf.value] if isinstance(leaf, Compare) else list(leaf.values) if isinstance(leaf, In) else []
        bounds = [one for one in vars(leaf).values() if isinstance(one, Bound)]
        numbers = [one for one in [*values, *(bound.value for bound in bounds)] if isinstance(one, float)]
        if not all(map(math.isfinite, numbers)):
            return False
    return True


def seeds() -> Iterator[bytes]:
    for words in _WORDS:
        yield b"t" + words.encode()
        yield b"p" + filter_pb2.Filter(text=words).SerializeToString()
    yield b"t" + b"not " * 20 + b"(sharp)"
    less, equal = filter_pb2.OPERATOR_LESS, filter_pb2.OPERATOR_EQUAL
    bound = filter_pb2.Bound(operator=less, value=0.5)
    filters = [
        filter_pb2.Filter(compare=filter_pb2.Compare(column="price", operator=less, value=filter_pb2.Value(number=3))),
        filter_pb2.Filter(
            compare=filter_pb2.Compare(column="taken", operator=equal, value=filter_pb2.Value(text="2026-01-03"))
        ),
        filter_pb2.Filter(**{"in": filter_pb2.In(column="split", texts=["test", "x"])}),
        filter_pb2.Filter(**{"in": filter_pb2.In(column="price", integers=[1, 2], numbers=[2.5])}),
        filter_pb2.Filter(has=filter_pb2.Has(column="tags", text="new")),
        filter_pb2.Filter(present=filter_pb2.Present(clustering="tiny/k3")),
        filter_pb2.Filter(in_cluster=filter_pb2.InCluster(clusters=[1], distance=bound)),
        filter_pb2.Filter(predicted=filter_pb2.Predicted(model="tiny", classes=["class 3"], probability=bound)),
    ]
    for one in filters:
        yield b"p" + one.SerializeToString()
    several = filter_pb2.Filters(filters=filters)
    yield b"p" + filter_pb2.Filter(any=several).SerializeToString()
    yield b"p" + filter_pb2.Filter(**{"not": filter_pb2.Filter(all=several)}).SerializeToString()
