"""Shares of an index together find what the whole index finds, row by row and bit by bit."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
import pytest

from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.share import Share
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.searcher import OnDevice
from lookalike_server.placement.share import ShareIndex, share_of
from lookalike_server.search.share_engine import Found, ShareWork
from lookalike_server.shards import remote
from lookalike_server.shards.messages import mask_of, parse_hits, request_message, response_message, work_of
from lookalike_server.shards.remote import RemoteSearcher

ROWS, DIM = 1200, 32
KINDS = {
    "Flat": "rows",
    "SQfp16": "rows",
    "PQ8x4": "rows",
    "IVF16,Flat": "rows",
    "IVF16,SQfp16": "rows",
    "IVF16,SQ8": "rows",
    "IVF16,PQ8x4np": "rows",
    "PCA8,IVF16,Flat": "rows",
    "IVF16,PQ8x4fs": "rows",
    "IVF16,PQ8x4fs,Refine(SQ8)": "candidates",
    "IVF16,RaBitQ,Refine(SQ8)": "candidates",
    "PCA8,SQ8,Refine(SQ8)": "candidates",
    "PCA8,IVF16,SQ8,Refine(SQ8)": "candidates",
    "HNSW16,SQ8": "whole",
    "PCA8,HNSW16,SQ8,Refine(SQ8)": "whole",
}


class Spread:
    """Stand-in for RemoteSpace with shares in this process, which exchange real messages."""

    def __init__(self, shares: Sequence[ShareIndex]) -> None:
        self._shares = shares

    def each(self, work: ShareWork, timeout: float | None = None) -> list[Found]:
        return [self._asked(share, work) for share in self._shares]

    def any(self, work: ShareWork) -> Found:
        return self._asked(self._shares[-1], work)

    def _asked(self, share: ShareIndex, work: ShareWork) -> Found:
        message = request_message("d", "tiny", "", work, bits=True)
        masks = [mask_of(one) for one in message.masks]
        got = work_of(message, share.facts, masks, 1 << 26)
        found = share.search(got.queries, got.k, got.nprobe, got.wanted, got.masks, got.candidates)
        sent = response_message(found, Share(1, len(self._shares)))
        return parse_hits(type(sent).FromString(sent.SerializeToString()))


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    made = np.random.default_rng(3).standard_normal((ROWS, DIM)).astype(np.float32)
    # More copies than the candidates of a first stage, spread over all shares, and a few more.
    made[40:1200:12] = made[7]
    made[[100, 500, 900]] = made[11]
    return made


@pytest.fixture(scope="module")
def queries(vectors) -> np.ndarray:
    others = np.random.default_rng(4).standard_normal((12, DIM)).astype(np.float32)
    return np.concatenate([vectors[[7, 11, 300, 1199]], others])


@pytest.fixture(scope="module")
def index_bytes(vectors):
    """Return the bytes of an index of some kind, built once."""
    made: dict[tuple[str, str], np.ndarray] = {}

    def of(kind: str, metric: str) -> np.ndarray:
        if (kind, metric) not in made:
            prepared = prepare(vectors, metric)
            stages = two_stage.parse(kind)
            if stages is None:
                measure = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
                index = faiss.index_factory(DIM, kind, measure)
                index.train(prepared)
                index.add(prepared)
            else:
                index = two_stage.empty(stages, DIM)
                two_stage.train(index, prepared)
                two_stage.add(index, prepared)
            made[kind, metric] = faiss.serialize_index(index)
        return made[kind, metric]

    return of


def spread(index_bytes: np.ndarray, metric: str, count: int) -> tuple[RemoteSearcher, list[ShareIndex]]:
    shares = [
        share_of(faiss.deserialize_index(index_bytes), metric, Share(number, count), ())
        for number in range(1, count + 1)
    ]
    return RemoteSearcher("shards", Spread(shares), shares[0].facts), shares


def effort(kind: str) -> int:
    return 64 if "HNSW" in kind else 5 if "IVF" in kind else 0


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("kind", KINDS)
def test_shares_find_what_the_whole_index_finds(index_bytes, queries, kind, metric) -> None:
    stored = index_bytes(kind, metric)
    whole = OnDevice("cpu", faiss.deserialize_index(stored), metric)
    asked = prepare(queries, metric)
    random = np.random.default_rng(5)
    # More matches than usual candidates, some times the candidates, fewer, and none.
    shares_of_rows = (0.3, 0.08, 0.01, 0)
    masks = QueryMasks(
        tuple(RowMask(random.random(ROWS) < share) for share in shares_of_rows), np.arange(len(asked)) % 4
    )
    for count in (1, 2, 4):
        searcher, shares = spread(stored, metric, count)
        assert shares[0].facts.mode == KINDS[kind]
        for k, theirs in ((10, None), (150, None), (10, masks)):
            wanted = np.full(len(asked), k)
            expected = whole.search(asked, k, effort(kind), wanted, theirs)
            found = searcher.search(asked, k, effort(kind), wanted, theirs)
            np.testing.assert_array_equal(found.rows, expected.rows)
            np.testing.assert_array_equal(found.distances, expected.distances)
            np.testing.assert_array_equal(found.effort, expected.effort)
            assert (found.facts is None) == (theirs is None)
            if found.facts is not None and expected.facts is not None:
                assert found.facts.strategy == expected.facts.strategy
                np.testing.assert_array_equal(found.facts.visited, expected.facts.visited)


@pytest.mark.parametrize("kind", ["IVF16,SQ8", "IVF16,RaBitQ,Refine(SQ8)", "HNSW16,SQ8"])
def test_large_searches_are_sent_in_pieces(index_bytes, queries, monkeypatch, kind) -> None:
    asked = prepare(queries, "cosine")
    random = np.random.default_rng(6)
    masks = QueryMasks(tuple(RowMask(random.random(ROWS) < 0.2) for _ in range(5)), np.arange(len(asked)) % 5)
    searcher, _ = spread(index_bytes(kind, "cosine"), "cosine", 2)
    wanted = np.full(len(asked), 10)
    for theirs in (None, masks):
        expected = searcher.search(asked, 10, effort(kind), wanted, theirs)
        with monkeypatch.context() as patch:
            patch.setattr(remote, "_MOST_ANSWERED", 120)
            patch.setattr(remote, "_MOST_BITS", 2 * ROWS)
            found = searcher.search(asked, 10, effort(kind), wanted, theirs)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.distances, expected.distances)
        if theirs is not None and expected.facts is not None and found.facts is not None:
            np.testing.assert_array_equal(found.facts.visited, expected.facts.visited)


@pytest.mark.parametrize("kind", [kind for kind, mode in KINDS.items() if mode != "whole"])
def test_each_row_is_in_one_share(index_bytes, queries, kind) -> None:
    _, shares = spread(index_bytes(kind, "l2"), "l2", 3)
    asked = prepare(queries[:1], "l2")
    rows = np.concatenate([
        share.search(asked, ROWS, 16 if "IVF" in kind else 0, np.full(1, ROWS), None).rows[0] for share in shares
    ])  # fmt: skip
    assert sorted(rows[rows >= 0].tolist()) == list(range(ROWS))


def test_share_holds_its_part_of_the_bytes(vectors) -> None:
    index = faiss.index_factory(DIM, "IVF16,Flat")
    index.train(vectors)
    index.add(vectors)
    share = share_of(index, "l2", Share(2, 4), ())
    assert share._searcher._index.ntotal == ROWS // 4


def test_fewer_rows_than_shares_are_held_whole(index_bytes) -> None:
    share = share_of(faiss.deserialize_index(index_bytes("Flat", "l2")), "l2", Share(1, ROWS + 1), ())
    assert share.facts.mode == "whole"


@pytest.mark.parametrize("written", ["0/2", "3/2", "2", "1/0", "a/b", "-1/2", "1/99999"])
def test_no_such_share(written) -> None:
    with pytest.raises(UsageError, match="write N/M"):
        Share.parse(written)
