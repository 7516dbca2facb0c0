from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike import wire
from lookalike.v1 import search_pb2
from lookalike_server.columns.columns import Columns
from lookalike_server.columns.space_images import SpaceImages, Texts
from lookalike_server.search.hits import Hits
from lookalike_server.services.reply_writer import ReplySpec, flat, write_batch, write_large

IMAGES = 40
TEXTS = Texts(keys=True, labels=True, uris=True)
# Rows of a space in which some images are missing.
SPARSE = np.array([image for image in range(IMAGES) if image % 7], np.int64)


def columns() -> Columns:
    numbers = np.arange(IMAGES)
    table = {
        "id": 100 + numbers,
        "key": [f"k{number}" for number in numbers],
        "label": [f"label {number % 3}" if number % 5 else None for number in numbers],
        "uri": [f"file:///k{number}" for number in numbers],
        "width": np.full(IMAGES, 5, np.int32),
        "height": np.full(IMAGES, 6, np.int32),
    }
    return Columns(pa.table(table), "c")


def hits_of(rows: np.ndarray, distances: np.ndarray) -> Hits:
    return Hits(rows, distances, 0, False, "cpu", True)


# The rows of each call's queries, and their k.
LINES = {
    False: [(slice(0, 1), 4), (slice(1, 3), 4), (slice(3, 5), 4)],
    True: [(slice(0, 1), 2), (slice(1, 3), 4), (slice(3, 5), 4)],
}


def expected(image: int) -> tuple[int, str, str, str]:
    return 100 + image, f"k{image}", f"label {image % 3}" if image % 5 else "", f"file:///k{image}"


@pytest.mark.parametrize("images", [np.arange(IMAGES), SPARSE], ids=["all images", "some images"])
@pytest.mark.parametrize("ragged", [False, True], ids=["as usual", "not all were found, own image, smaller k"])
def test_each_call_gets_its_own_neighbors_and_texts(images, ragged):
    random = np.random.default_rng(1)
    rows = random.integers(0, len(images), (5, 4))
    distances = random.random((5, 4), np.float32)
    own = None
    if ragged:
        rows[1, 2:], distances[1, 2:] = -1, np.inf
        own = np.array([[100 + images[rows[3, 1]]], [-5]])
    calls = [
        ReplySpec(1, 2 if ragged else 4, None, Texts()),
        ReplySpec(2, 4, None, TEXTS),
        ReplySpec(2, 3 if ragged else 4, own, Texts(keys=True)),
    ]
    space = SpaceImages(columns(), 100 + images)
    found = [hits_of(rows[some, :width], distances[some, :width]) for some, width in LINES[ragged]]
    replies = [search_pb2.SearchResponse.FromString(reply).neighbors for reply in write_batch(space, found, calls)]
    line = 0
    for call, reply in zip(calls, replies, strict=True):
        hits = []
        for query in range(call.queries):
            there = [
                (expected(images[row]), distance)
                for row, distance in zip(rows[line], distances[line], strict=True)
                if row >= 0 and (call.own is None or 100 + images[row] != call.own[query, 0])
            ][: call.k]
            assert reply.counts[query] == len(there)
            hits += there
            line += 1
        assert wire.decode(reply.ids).tolist() == [hit[0] for hit, _ in hits]
        assert wire.decode(reply.distances).tolist() == pytest.approx([distance for _, distance in hits])
        for place, name in enumerate(("keys", "labels", "uris"), start=1):
            wanted = [hit[place] for hit, _ in hits] if getattr(call.texts, name) else []
            assert list(getattr(reply, name)) == wanted
    # A large reply is written by other code, with the same content.
    large = write_large(space, flat(space, found[1], calls[1]), calls[1])
    assert search_pb2.SearchResponse.FromString(large).neighbors == replies[1]
