"""Applying an increment to an index gives the grown index, byte for byte."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from lookalike_indexer.errors import DataLossError
from lookalike_indexer.indexing import build, increments
from lookalike_indexer.indexing.increments import Increments

KINDS = [
    "Flat",
    "SQ8",
    "IVF8,Flat",
    "IVF8,SQfp16",
    "IVF8,RaBitQ,Refine(SQ8)",
    "PCA8,IVF8,PQ4x4",
    "HNSW8",
    "HNSW8,SQ8",
    "PCA8,HNSW8,SQ8,Refine(SQ8)",
]


def made(factory, vectors):
    index = build.empty_index(factory, vectors.shape[1], "l2", 7)
    if build.two_stage.is_two_stage(index):
        build.two_stage.train(faiss.downcast_index(index), vectors)
    else:
        index.train(vectors)
    return index


def vectors(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


def added(index, some):
    with build.one_thread_for_graphs(index):
        build.add(index, some)


@pytest.mark.parametrize("factory", KINDS)
@pytest.mark.parametrize("first", [400, 0])
def test_increments_give_the_same_index(factory, first) -> None:
    index = made(factory, vectors(400))
    added(index, vectors(first, 1))
    assert increments.is_supported(index)
    base = faiss.serialize_index(index)
    every, gained = Increments(faiss.deserialize_index(base)), []
    merged = every._index
    for seed, count in ((2, 150), (3, 1), (4, 60)):
        one = Increments(index)
        added(index, vectors(count, seed))
        assert one.rows == count
        gained.append(one.gained())
        increments.apply(merged, gained[-1], "file")
        np.testing.assert_array_equal(faiss.serialize_index(merged), faiss.serialize_index(index))
    # One increment may replace all others.
    assert every.rows == 211
    again = faiss.deserialize_index(base)
    increments.apply(again, every.gained(), "file")
    np.testing.assert_array_equal(faiss.serialize_index(again), faiss.serialize_index(index))
    # A loaded index can grow further.
    added(again, vectors(30, 5))
    assert again.ntotal == first + 241
    assert (again.search(vectors(30, 5), 1)[1][:, 0] >= 0).all()


def test_increments_are_small() -> None:
    index = made("IVF8,Flat", vectors(400))
    added(index, vectors(400, 1))
    one = Increments(index)
    added(index, vectors(10, 2))
    assert sum(array.nbytes for array in one.gained().values()) < 10 * (16 * 4 + 16) + 64


@pytest.mark.parametrize("factory", ["NSG8", "IVF8,PQ8x4fs"])
def test_unsupported_kinds_are_recognized(factory) -> None:
    index = faiss.index_factory(16, factory)
    assert not increments.is_supported(index)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW8"])
def test_increments_that_do_not_fit_the_index_are_rejected(factory) -> None:
    """faiss does not validate: rows, lists and links outside of the index must be rejected before."""
    index = made(factory, vectors(400))
    added(index, vectors(100, 1))
    base = faiss.serialize_index(index)
    one = Increments(index)
    added(index, vectors(20, 2))
    good = one.gained()
    increments.apply(faiss.deserialize_index(base), good, "file")
    for name, array in good.items():
        bad = [array.astype(np.float32), array.reshape(-1)[:-1]]
        if array.dtype in (np.int32, np.int64):
            bad += [array + 100_000, array - 100_000]
        for wrong in bad:
            with pytest.raises(DataLossError, match="file does not belong to the index"):
                increments.apply(faiss.deserialize_index(base), {**good, name: wrong}, "file")
        with pytest.raises(DataLossError, match="does not belong"):
            increments.apply(
                faiss.deserialize_index(base), {key: one for key, one in good.items() if key != name}, "file"
            )
    with pytest.raises(DataLossError, match="does not belong"):
        increments.apply(index, good, "file")
