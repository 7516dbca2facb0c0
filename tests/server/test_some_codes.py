"""Searches of some rows of a scalar quantizer, and the comparisons of a filtered search of a two-stage index."""

from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.indexing import two_stage
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.decoded_vectors import DecodedVectors
from lookalike_server.placement.graph_source import GraphSource
from lookalike_server.placement.kinds import decode_of
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.projected_source import TwoStageSource
from lookalike_server.placement.reranked import Reranked
from lookalike_server.placement.searcher import OnDevice
from lookalike_server.placement.some_codes import SomeCodes

DIM = 24


def vectors(rows: int, seed: int = 0) -> Float32:
    made = np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def quantized(metric: int, kind: str = "SQ8") -> faiss.IndexScalarQuantizer:
    index = faiss.index_factory(DIM, kind, metric)
    index.train(vectors(400))
    index.add(vectors(400))
    return index


class TestSomeCodes:
    @pytest.mark.parametrize("kind", ["SQ8", "SQ4", "SQfp16"])
    @pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
    def test_scores_and_rows_equal_those_of_a_selector_search(self, metric: int, kind: str) -> None:
        index, queries = quantized(metric, kind), vectors(3, seed=5)
        some = SomeCodes(index)
        for rows in (np.arange(0, 400, 7), np.array([399]), np.arange(12)):
            selector = faiss.IDSelectorBatch(rows)
            expected = index.search(queries, 12, params=faiss.SearchParameters(sel=selector))
            scores, found = some.search(queries, rows.astype(np.int64), 12)
            np.testing.assert_array_equal(scores, expected[0])
            np.testing.assert_array_equal(found, expected[1])

    def test_search_of_no_rows_finds_nothing(self) -> None:
        scores, rows = SomeCodes(quantized(faiss.METRIC_L2)).search(vectors(2), np.empty(0, np.int64), 3)
        assert (rows == -1).all()
        assert np.isposinf(scores).all()

    def test_newer_rows_are_found(self) -> None:
        index = quantized(faiss.METRIC_L2)
        some, more = SomeCodes(index), vectors(300, seed=9)
        some.search(more[:1], np.arange(5), 1)
        index.add(more)
        assert some.search(more[7:8], np.array([3, 407]), 1)[1].tolist() == [[407]]

    def test_threads_do_not_share_what_is_copied(self) -> None:
        index = quantized(faiss.METRIC_L2)
        some = SomeCodes(index)
        wrong: list[int] = []

        def search(number: int) -> None:
            query = index.reconstruct(number)[None]
            found = [some.search(query, np.arange(number, 400, 4), 1)[1].item() for _ in range(50)]
            wrong.extend(row for row in found if row != number)

        threads = [threading.Thread(target=search, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_codes_are_copied_only_if_few_rows_match(self) -> None:
        some = SomeCodes(quantized(faiss.METRIC_L2))
        assert some.quicker(4)
        assert not some.quicker(399)


@pytest.fixture(scope="module")
def graph() -> faiss.IndexRefine:
    stages = two_stage.parse("PCA12,HNSW16,SQ8,Refine(SQ8)")
    assert stages is not None
    index = two_stage.empty(stages, DIM)
    two_stage.train(index, vectors(3000))
    two_stage.add(index, vectors(3000))
    return index


class TestTwoStages:
    @pytest.mark.parametrize("share", [0.01, 0.2, 0.6])
    def test_filtered_search_decodes_about_as_many_vectors(self, graph: faiss.IndexRefine, share: float) -> None:
        decode = decode_of(faiss.downcast_index(graph.refine_index))
        assert decode is not None
        decoded: list[int] = []

        def counting(rows: Int64) -> Float32:
            decoded.append(len(rows))
            return decode(rows)

        first = two_stage.first_stage(graph)
        source = TwoStageSource(graph, GraphSource(first, "l2"), "l2")
        search = Reranked(source, DecodedVectors(counting, "cosine"), two_stage.FACTOR, two_stage.LEAST).search
        queries, wanted = vectors(20, seed=7), np.full(20, 10)
        search(queries, 10, 32, wanted)
        unfiltered, decoded[:] = sum(decoded), []
        mask = RowMask(np.random.default_rng(1).random(3000) < share)
        found = search(queries, 10, 32, wanted, QueryMasks.of([mask] * 20))
        assert sum(decoded) <= 1.5 * unfiltered
        assert mask.allows(found.rows).all()

    def test_few_matches_are_all_compared(self, graph: faiss.IndexRefine) -> None:
        first = two_stage.first_stage(graph)
        decode = decode_of(faiss.downcast_index(graph.refine_index))
        assert decode is not None
        source = TwoStageSource(graph, GraphSource(first, "l2"), "l2")
        search = Reranked(source, DecodedVectors(decode, "cosine"), two_stage.FACTOR, two_stage.LEAST).search
        allowed = np.zeros(3000, np.bool_)
        allowed[np.arange(5, 3000, 20)] = True
        # Together with a mask of many matches, and a mask of none.
        masks = QueryMasks.of([RowMask(allowed), RowMask(np.ones(3000, np.bool_)), RowMask(np.zeros(3000, np.bool_))])
        queries = vectors(3, seed=8)
        found = search(queries, 10, 64, np.full(3, 10), masks)
        matches = np.flatnonzero(allowed)
        truth = np.argsort(-(decode(matches) @ queries[0]))[:10]
        assert found.rows[0].tolist() == matches[truth].tolist()
        assert (found.rows[1] >= 0).all()
        assert (found.rows[2] == -1).all()
        assert found.facts is not None
        assert found.facts.strategy[0] == "matches"
        assert found.facts.strategy[2] == "none"

    @pytest.mark.parametrize("k", [100, 500, 800])
    def test_small_index_returns_k_matches(self, k: int) -> None:
        stages = two_stage.parse("PCA12,HNSW16,SQ8,Refine(SQ8)")
        assert stages is not None
        index = two_stage.empty(stages, DIM)
        two_stage.train(index, vectors(1000))
        two_stage.add(index, vectors(1000))
        mask = RowMask(np.arange(1000) >= 100)
        found = OnDevice("cpu", index, "cosine").search(
            vectors(2, seed=6), k, 64, np.full(2, k), QueryMasks.of([mask, mask])
        )
        assert (found.rows >= 100).all()
