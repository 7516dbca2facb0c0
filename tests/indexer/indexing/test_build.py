from __future__ import annotations

import faiss
import numpy as np
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.build import empty_index, fill, train
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.flat import flat_index
from lookalike_indexer.vectors.metric import prepare

DIM = 16


def noise(rows=800, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)


def built(reader, factory, seed=1234, gpus=(), metric="cosine"):
    index = empty_index(factory, DIM, metric, seed)
    sample = prepare(np.concatenate([vectors for _, vectors in reader.stream()]), metric)
    train(index, sample, factory, gpus, Silent())
    fill(index, reader, "tiny", metric, Silent())
    return index


@pytest.fixture
def reader(make_collection):
    storage = make_collection(noise(), part_rows=[300, 0, 500])
    return CollectionReader(storage, generations.require_latest(storage))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_entry_i_is_row_i(reader, metric):
    index = built(reader, "Flat", metric=metric)
    np.testing.assert_array_equal(index.reconstruct_n(0, 800), prepare(noise(), metric))


@pytest.mark.parametrize(
    "factory",
    ["Flat", "IVF8,Flat", "IVF8,SQfp16", "IVF8,SQ8", "IVF8,PQ4x4np", "PCA8,IVF8,Flat", "HNSW8", "SQ8"],
)
def test_same_seed_gives_the_same_bytes(reader, factory):
    first = faiss.serialize_index(built(reader, factory)).tobytes()
    assert faiss.serialize_index(built(reader, factory)).tobytes() == first


def test_seed_decides_the_lists(reader):
    one, other = (faiss.serialize_index(built(reader, "IVF8,Flat", seed=seed)).tobytes() for seed in (1, 2))
    assert one != other


@pytest.mark.parametrize("factory", ["IVF8,SQfp16", "HNSW8"])
def test_number_of_threads_does_not_change_a_byte(reader, factory):
    results = set()
    for threads in (1, 2, 5):
        faiss.omp_set_num_threads(threads)
        try:
            results.add(faiss.serialize_index(built(reader, factory)).tobytes())
            assert faiss.omp_get_max_threads() == threads
        finally:
            faiss.omp_set_num_threads(2)
    assert len(results) == 1


@pytest.mark.parametrize("factory", ["IVF8,Flat", "PCA8,IVF8,SQ8", "IVF8,PQ4x4np"])
def test_training_on_gpus_uses_an_index_on_those_gpus(reader, factory, monkeypatch):
    """The k-means of the lists searches in an index for the requested GPUs; here that index is on the processor."""
    asked = []

    def recording(dim, metric, gpus=()):
        asked.append((dim, metric, tuple(gpus)))
        return flat_index(dim, metric)

    monkeypatch.setattr(build, "flat_index", recording)
    expected = faiss.serialize_index(built(reader, factory)).tobytes()
    assert asked == []
    found = built(reader, factory, gpus=(0, 2))
    assert asked == [(8 if "PCA" in factory else DIM, faiss.METRIC_INNER_PRODUCT, (0, 2))]
    assert faiss.extract_index_ivf(found).clustering_index is None
    assert faiss.serialize_index(found).tobytes() == expected


def test_small_samples_bring_no_warnings(reader, capfd):
    built(reader, "IVF30,PQ2np")
    captured = capfd.readouterr()
    assert "WARNING" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("factory", "metric", "message"),
    [
        ("Bogus", "cosine", r"--index 'Bogus': faiss cannot make it for 16 dimensions and cosine \(could not parse"),
        ("IVF8,PQ7", "cosine", "should be a multiple of the number of subquantizers"),
        ("LSH", "cosine", r"\(metric == METRIC_L2\)"),
        ("IDMap,Flat", "l2", "leave IDMap out"),
        ("IVF8,Flat,IDMap2", "l2", "leave IDMap out"),
    ],
)
def test_index_that_faiss_cannot_create_is_explained(factory, metric, message):
    with pytest.raises(UsageError, match=message) as caught:
        empty_index(factory, DIM, metric, 1)
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)


def test_too_few_vectors_to_train_on_are_explained():
    for factory, message in [
        ("IVF40,Flat", "has 40 lists but 30 training vectors"),
        ("PQ4", "cannot be trained on 30"),
    ]:
        with pytest.raises(UsageError, match=message):
            train(empty_index(factory, DIM, "l2", 1), noise(30), factory, (), Silent())


@pytest.mark.gpu
@pytest.mark.parametrize("factory", ["IVF8,SQfp16", "PCA8,IVF8,Flat"])
def test_training_on_real_gpus(reader, factory):
    index = built(reader, factory, gpus=tuple(range(faiss.get_num_gpus())))
    assert index.ntotal == 800
    assert faiss.extract_index_ivf(index).quantizer.ntotal == 8
