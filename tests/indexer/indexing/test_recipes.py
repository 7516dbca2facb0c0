from __future__ import annotations

import math

import faiss
import pytest

from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing.recipes import NAMES, choose, held_out_count
from lookalike_indexer.indexing.settings import BuildSettings


def recipe(rows, dim=2048, **settings):
    return choose(rows, dim, BuildSettings(**settings))


@pytest.mark.parametrize("rows", [1, 1000, 19_999])
def test_small_collections_are_searched_exactly(rows):
    chosen = recipe(rows)
    assert (chosen.factory, chosen.train_size) == ("Flat", 0)
    assert str(rows) in chosen.reason


@pytest.mark.parametrize(
    ("rows", "factory"),
    [(20_000, "IVF256,SQfp16"), (100_000, "IVF1024,SQfp16"), (1_000_000, "IVF4096,SQfp16"), (10**7, "IVF16384,SQfp16")],
)
def test_large_collections_get_inverted_lists(rows, factory):
    chosen = recipe(rows)
    assert chosen.factory == factory
    assert "nlist" in chosen.reason


@pytest.mark.parametrize("rows", [40, 500, 5000, 20_000, 77_777, 300_000, 10**6, 10**7, 10**9])
def test_each_list_has_enough_training_vectors_and_queries_are_held_back(rows):
    chosen = recipe(rows, index="ivf-flat")
    nlist = int(chosen.factory.removeprefix("IVF").split(",")[0])
    assert nlist == 2 ** int(math.log2(nlist))
    assert chosen.train_size >= 39 * nlist or nlist == 1
    assert chosen.train_size + held_out_count(rows) <= rows
    assert nlist <= 2**0.5 * 4 * math.sqrt(rows)
    assert chosen.train_size <= 64 * nlist


@pytest.mark.parametrize(
    ("name", "factory"),
    [
        ("flat", "Flat"),
        ("ivf-flat", "IVF512,Flat"),
        ("ivf-fp16", "IVF512,SQfp16"),
        ("ivf-sq8", "IVF512,SQ8"),
        ("ivf-pq", "IVF512,PQ64np"),
        ("IVF-PQ", "IVF512,PQ64np"),
        ("HNSW32", "HNSW32"),
        ("OPQ16,IVF64,PQ16", "OPQ16,IVF64,PQ16"),
    ],
)
def test_names_and_factory_strings(name, factory):
    assert recipe(30_000, index=name).factory == factory


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 12, 100, 512, 768, 1000, 2048])
def test_product_quantization_divides_the_dimension(dim):
    factory = recipe(30_000, dim=dim, index="ivf-pq").factory
    assert faiss.index_factory(dim, factory).d == dim


def test_nlist_and_train_size_as_requested():
    chosen = recipe(30_000, index="ivf-sq8", nlist=100, train_size=4000)
    assert (chosen.factory, chosen.train_size) == ("IVF100,SQ8", 4000)
    assert recipe(30_000, train_size=4000).factory == "IVF64,SQfp16"
    assert recipe(50, index="ivf-flat", train_size=4000).train_size == 50


def test_nlist_alone_means_inverted_lists():
    assert recipe(1000, nlist=10).factory == "IVF10,SQfp16"


@pytest.mark.parametrize("index", ["flat", "IVF8,Flat", "HNSW32"])
def test_nlist_with_an_index_that_has_none_of_it_is_rejected(index):
    with pytest.raises(UsageError, match="--nlist 8 goes with the kinds of --index that have ivf- in their names"):
        recipe(1000, index=index, nlist=8)


def test_more_lists_than_images_are_rejected():
    with pytest.raises(UsageError, match="--nlist 1001: there are only 1000 images"):
        recipe(1000, index="ivf-flat", nlist=1001)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"index": " "}, "--index is empty"),
        ({"nlist": 0}, "--nlist 0"),
        ({"train_size": 0}, "--train-size 0"),
        ({"target_recall": 0}, "--target-recall 0"),
        ({"target_recall": 1.5}, "--target-recall 1.5"),
        ({"seed": 2**31}, "--seed 2147483648"),
    ],
)
def test_settings_out_of_range_are_rejected(settings, message):
    with pytest.raises(UsageError, match=message):
        BuildSettings(**settings)


def test_every_index_name_has_a_recipe():
    assert all(recipe(25_000, index=name).factory for name in NAMES)
