"""Indexes whose first stage searches principal components."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing import recipes, two_stage
from lookalike_indexer.indexing.build import add, empty_index, train
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.early_checks import check_build
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.indexing.projection import projectable, train_components, transform
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.indexing.trial import Trial
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.verification import examination, indexes

FACTORIES = ["PCA16,HNSW32,SQ8,Refine(SQ8)", "PCA16,SQ8,Refine(SQfp16)", "PCA16,IVF16,SQ8,Refine(Flat)"]


def in_few_directions(rows: int, dim: int = 64, seed: int = 0) -> np.ndarray:
    """Return vectors whose variance falls quickly over the directions, as that of images' embeddings does."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(9).standard_normal((dim, dim)))[0]
    return (generator.standard_normal((rows, dim)) / np.arange(1, dim + 1) @ directions + 0.2).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 3.7, 1e18])
def test_projection_does_not_depend_on_the_batch(scale):
    vectors = in_few_directions(64) * np.float32(scale)
    linear = transform(train_components(in_few_directions(500), 16))
    together = linear.apply(projectable(vectors))
    alone = np.concatenate([linear.apply(projectable(vectors[row : row + 1])) for row in range(64)])
    assert together.tobytes() == alone.tobytes()
    # Independent even of the precision of sums: nothing is rounded.
    components = faiss.vector_to_array(linear.A).reshape(16, 64)
    true = projectable(vectors).astype(np.float64) @ components.T.astype(np.float64)
    assert np.array_equal(together, true.astype(np.float32))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (np.abs(projectable(vectors) - vectors) <= 2**-12 * lengths).all()


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e18])
def test_vectors_of_length_one_are_rounded_as_any_others(scale):
    vectors = prepare(in_few_directions(64) * np.float32(scale), "cosine")
    vectors[3] = 0
    assert projectable(vectors, unit=True).tobytes() == projectable(vectors).tobytes()


def test_components_are_the_principal_ones():
    sample = in_few_directions(2000)
    components = train_components(sample, 8)
    centered = sample - sample.mean(axis=0)
    singular = np.linalg.svd(centered, full_matrices=False)[2][:8]
    assert np.abs(np.sum(components * singular, axis=1)) == pytest.approx(1, abs=5e-3)
    assert (components[np.arange(8), np.abs(components).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("zero", [np.zeros((3, 8), np.float32), np.empty((0, 8), np.float32)])
def test_vectors_without_a_direction_stay_as_they_are(zero):
    assert np.array_equal(projectable(zero), zero)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("index", FACTORIES)
def test_collection_is_indexed_searched_and_verified(make_collection, index, metric):
    vectors = in_few_directions(1500)
    storage = make_collection(vectors, part_rows=[700, 800])
    settings = BuildSettings(index=index, metric=metric, target_recall=0.9)
    draft, report = run_build(storage, generations.require_latest(storage), settings, Silent())
    reader = CollectionReader(storage, draft)
    loaded = read_index(reader, report.entry)
    assert two_stage.is_two_stage(loaded)
    assert report.recall >= 0.95
    queries = prepare(vectors[:50], metric)
    truth, _ = exact_search([(np.arange(1500), vectors)], queries, 10, metric)
    effort = max(point.nprobe for point in report.entry.recall if point.k == 10)
    found = two_stage.searched(loaded, queries, 10, effort)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]) >= 0.95
    looked = examination.Examination(reader, examination.VerifySettings(), Silent())
    assert indexes._difference(looked, report.entry) == ""


def test_rows_added_in_other_blocks_give_the_same_index():
    vectors = prepare(in_few_directions(600), "cosine")
    made = []
    for step in (600, 37):
        index = empty_index(FACTORIES[1], 64, "cosine", 1)
        train(index, vectors, FACTORIES[1], (), Silent())
        for start in range(0, 600, step):
            add(index, vectors[start : start + step])
        made.append(faiss.serialize_index(index).tobytes())
    assert made[0] == made[1]


def test_graph_gives_no_more_candidates_than_it_keeps():
    vectors = prepare(in_few_directions(1500), "cosine")
    index = empty_index(FACTORIES[0], 64, "cosine", 1)
    train(index, vectors, FACTORIES[0], (), Silent())
    add(index, vectors)
    queries = vectors[:40]
    search = two_stage.TwoStageSearch(index)
    for effort, candidates in ((8, 14), (16, 16), (512, 40)):
        found = two_stage.searched(index, queries, 10, effort)
        assert np.array_equal(found, search(queries, 10, candidates, effort)[1])
    # As earlier releases wrote it, whose recall was measured with all candidates.
    index.k_factor = two_stage.FACTOR
    assert np.array_equal(two_stage.searched(index, queries, 10, 16), search(queries, 10, 40, 16)[1])


@pytest.mark.parametrize(
    ("name", "factory"),
    [
        ("pca128-hnsw", "PCA128,HNSW32,SQ8,Refine(SQ8)"),
        ("pca64-flat", "PCA64,SQ8,Refine(SQ8)"),
        ("PCA256-IVF-SQ8", "PCA256,IVF512,SQ8,Refine(SQ8)"),
    ],
)
def test_name_says_the_components_and_the_kind(name, factory):
    assert recipes.choose(25_000, 2048, BuildSettings(index=name)).factory == factory


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BuildSettings(index="pca128-hnsw"), "128 components; the embeddings have 64 dimensions"),
        (BuildSettings(index="pca0-hnsw"), "0 components"),
        (BuildSettings(index="pca16-tree"), "neither a kind of index nor a factory string"),
        (BuildSettings(index="pca16-hnsw", nlist=4), "--nlist 4 goes with"),
        (BuildSettings(index="pca32-flat", train_size=20), "principal components need at least 32 training vectors"),
    ],
)
def test_impossible_index_settings_are_rejected_before_embedding(settings, message):
    with pytest.raises(UsageError, match=message):
        check_build(settings, 1000, 64)


def test_auto_tries_the_fewest_components_that_can_reach_the_target():
    settings = BuildSettings(target_recall=0.9)
    few = prepare(in_few_directions(1600, 512), "cosine")
    assert Trial(few[100:], few[:100], settings).components() == [64, 128]
    noise = prepare(np.random.default_rng(0).standard_normal((1600, 512)), "cosine")
    assert Trial(noise[100:], noise[:100], settings).components() == []
    assert Trial(few[100:, :100], few[:100, :100], settings).components() == []


@pytest.mark.parametrize("kind", ["pca16-hnsw", "pca16-flat", "pca16-ivf-sq8"])
def test_every_kind_in_two_stages_can_be_tried(kind):
    vectors = in_few_directions(1600)
    tried = Trial(vectors[100:], vectors[:100], BuildSettings(metric="l2", target_recall=0.9)).candidate(kind)
    assert tried.recall >= 0.9
    assert tried.queries_per_second > 0
