from __future__ import annotations

import dataclasses
import hashlib
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.clustering import tables
from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.choice import choose_restarts
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.training import sample_size
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import IndexerError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare


def cluster(storage, **settings):
    draft, report = run_cluster(storage, generations.require_latest(storage), ClusterSettings(**settings), Silent())
    return CollectionReader(storage, draft), report


def written(storage):
    """Return the digest of every file of the clusterings, by path."""
    files = sorted((storage.root / "clusterings").rglob("*.parquet"))
    return {str(file.relative_to(storage.root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_every_image_gets_its_nearest_centroid(make_collection, clustered):
    vectors = clustered(530, 12, 7)
    storage = make_collection(vectors, part_rows=[100, 0, 230, 200])
    reader, report = cluster(storage, clusters=7, restarts=20)
    assigned = reader.assignments("tiny/k7")
    expected = assign(prepare(vectors, "cosine"), reader.centroids("tiny/k7"))
    assert np.array_equal(assigned.ids, np.arange(530) * 3 + 1)
    assert np.array_equal(assigned.clusters, expected.clusters)
    assert np.array_equal(assigned.distances, expected.distances)
    assert np.array_equal(assigned.margins, expected.margins)
    groups = assigned.clusters[:525].reshape(-1, 7)
    assert (groups == groups[0]).all()
    assert report.sizes.tolist() == np.bincount(assigned.clusters, minlength=7).tolist()
    assert report.sizes.sum() == 530


def test_assignment_does_not_depend_on_the_parts(make_collection, clustered):
    vectors = clustered(400, 32, 40, spread=1)
    whole, _ = cluster(make_collection(vectors, part_rows=400, name="whole"), clusters=20)
    reader, _ = cluster(make_collection(vectors, part_rows=[1, 2, 17, 20, 21, 139, 200], name="parts"), clusters=20)
    left, right = whole.assignments("tiny/k20"), reader.assignments("tiny/k20")
    for name in ("ids", "clusters", "distances", "margins"):
        assert getattr(left, name).tobytes() == getattr(right, name).tobytes()
    assert whole.centroids("tiny/k20").tobytes() == reader.centroids("tiny/k20").tobytes()


def test_parts_of_assignments_follow_those_of_embeddings(make_collection, clustered):
    storage = make_collection(clustered(250, 8, 3), part_rows=100)
    reader, _ = cluster(storage, clusters=3)
    entry = reader.clustering("tiny/k3")
    assert [path.rsplit("/", 1)[1] for path in entry.assignments] == [f"part-{part:06d}.parquet" for part in range(3)]
    assert [reader.manifest.files[path].rows for path in entry.assignments] == [100, 100, 50]
    assert reader.manifest.files[entry.centroids].rows == 3
    assert entry.digest[:16] in entry.centroids
    assert (entry.rows, entry.k, entry.trained_on) == (250, 3, 250)


def test_nothing_is_published(make_collection, clustered):
    storage = make_collection(clustered(100, 8, 3))
    reader, _ = cluster(storage, clusters=3)
    assert generations.numbers(storage) == [1]
    published = generations.publish(storage, reader.manifest)
    assert published.generation == 2
    assert published.clusterings["tiny/k3"] == reader.clustering("tiny/k3")


def test_running_again_changes_no_byte_and_publishes_nothing(make_collection, clustered):
    storage = make_collection(clustered(300, 8, 5))
    first, report = cluster(storage, clusters=5)
    assert report.reused == 0
    generations.publish(storage, first.manifest)
    before = written(storage)
    again, report = cluster(storage, clusters=5)
    assert written(storage) == before
    assert report.reused == len(before) == 4
    assert generations.publish(storage, again.manifest).generation == 2


@pytest.mark.parametrize("kept", ["centroids", "one part", "nothing"])
def test_killed_run_resumes_to_the_same_bytes(make_collection, clustered, kept):
    vectors = clustered(300, 8, 5)
    whole = make_collection(vectors, name="whole")
    expected, _ = cluster(whole, clusters=5)
    killed = make_collection(vectors, name="killed")
    for path in {"centroids": [-1], "one part": [-1, 0], "nothing": []}[kept]:
        entry = expected.clustering("tiny/k5")
        name = [*entry.assignments, entry.centroids][path]
        killed.local(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole.local(name), killed.local(name))
    resumed, report = cluster(killed, clusters=5)
    assert report.reused == {"centroids": 1, "one part": 2, "nothing": 0}[kept]
    assert written(killed) == written(whole)
    assert resumed.manifest == expected.manifest


def test_other_settings_or_embeddings_have_another_digest(make_collection, clustered):
    vectors = clustered(200, 8, 4)
    storage = make_collection(vectors)
    base = {"clusters": 4, "name": "mine"}
    digests = [
        cluster(storage, **base, **more)[1].entry.digest
        for more in (
            {},
            {"seed": 9},
            {"iterations": 3},
            {"restarts": 2},
            {"points_per_centroid": 30},
            {"strategy": "spherical"},
            {"metric": "l2"},
        )
    ]
    digests.append(cluster(make_collection(vectors + 1, name="other"), **base)[1].entry.digest)
    assert len(set(digests)) == 8


def test_choice_of_gpus_is_not_part_of_the_digest(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    _, report = cluster(storage, clusters=4)
    settings = dataclasses.replace(ClusterSettings(clusters=4), gpus=())
    assert run_cluster(storage, generations.require_latest(storage), settings, Silent())[1].reused == 2
    assert report.entry.digest


def test_clustering_of_the_same_name_is_replaced_and_others_stay(make_collection, clustered):
    storage = make_collection(clustered(200, 8, 4))
    first, _ = cluster(storage, clusters=3)
    generations.publish(storage, first.manifest)
    second, _ = cluster(storage, clusters=4)
    generations.publish(storage, second.manifest)
    third, report = cluster(storage, clusters=3, seed=77)
    assert sorted(third.manifest.clusterings) == ["tiny/k3", "tiny/k4"]
    assert third.clustering("tiny/k3") == report.entry
    assert report.entry.seed == 77
    assert not set(first.clustering("tiny/k3").assignments) & third.manifest.files.keys()


def test_l2_clusters_the_vectors_as_they_are(make_collection):
    directions = np.random.default_rng(0).standard_normal((300, 8))
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = unit * np.repeat([1, 10, 100], 100)[:, None]
    storage = make_collection(vectors.astype(np.float32))
    reader, report = cluster(storage, clusters=2, metric="l2", restarts=5)
    assert report.entry.name == "k2-l2"
    assert np.linalg.norm(reader.centroids("tiny/k2-l2"), axis=1).max() > 5
    cosine, _ = cluster(storage, clusters=2)
    assert np.linalg.norm(cosine.centroids("tiny/k2"), axis=1).max() <= 1


def test_spherical_centroids_are_unit_vectors_and_inertia_is_of_distances(make_collection, clustered):
    storage = make_collection(clustered(400, 8, 5))
    reader, report = cluster(storage, clusters=5, strategy="spherical", restarts=10)
    assert report.entry.name == "k5-spherical"
    np.testing.assert_allclose(np.linalg.norm(reader.centroids("tiny/k5-spherical"), axis=1), 1, rtol=1e-6)
    distances = reader.assignments("tiny/k5-spherical").distances.astype(np.float64)
    assert report.entry.inertia[-1] == pytest.approx(np.square(distances).sum(), rel=1e-3)


def test_number_of_labels_is_the_number_of_clusters(make_collection, clustered):
    labels = [("cat", "dog", "eel")[row % 3] for row in range(150)]
    _, report = cluster(make_collection(clustered(150, 8, 3), labels=labels))
    assert (report.entry.k, report.entry.name, report.reason) == (3, "auto", "the number of labels")


def test_without_labels_about_the_square_root_of_half_the_images(make_collection, clustered):
    _, report = cluster(make_collection(clustered(200, 8, 3), labels=["all"] * 100 + [None] * 100))
    assert report.entry.k == 10
    assert report.reason == "about the square root of half of 200 images"


def test_one_image_is_one_cluster(make_collection):
    reader, report = cluster(make_collection(np.ones((1, 4), np.float32)))
    assert report.entry.k == 1
    assert np.isposinf(reader.assignments("tiny/auto").margins).all()


def test_as_many_clusters_as_images(make_collection, clustered):
    reader, report = cluster(make_collection(clustered(30, 8, 30)), clusters=30)
    assert report.sizes.tolist() == [1] * 30
    assert reader.assignments("tiny/k30").distances.max() == 0


def test_duplicates_only_are_one_cluster_at_distance_zero(make_collection):
    reader, report = cluster(make_collection(np.full((250, 4), 3, np.float32)), clusters=6)
    assert report.sizes.tolist() == [250, 0, 0, 0, 0, 0]
    assert report.empty == 5
    assigned = reader.assignments("tiny/k6")
    assert assigned.distances.max() == assigned.margins.max() == 0


def test_zero_vectors_are_clustered(make_collection):
    vectors = np.zeros((60, 4), np.float32)
    vectors[::2, 1] = 5
    _, report = cluster(make_collection(vectors), clusters=2)
    assert report.sizes.tolist() == [30, 30]


def test_float16_embeddings_are_clustered_in_float32(make_collection, clustered):
    vectors = clustered(120, 8, 4)
    reader, _ = cluster(make_collection(vectors, dtype="float16"), clusters=4)
    stored = vectors.astype(np.float16).astype(np.float32)
    expected = assign(prepare(stored, "cosine"), reader.centroids("tiny/k4"))
    assert np.array_equal(reader.assignments("tiny/k4").distances, expected.distances)


def test_sample_bounds_what_is_trained_on(make_collection, clustered):
    _, report = cluster(make_collection(clustered(500, 8, 4)), clusters=4, points_per_centroid=40)
    assert report.entry.trained_on == 160
    assert report.sizes.sum() == 500


def test_more_clusters_than_images_is_rejected(make_collection, clustered):
    with pytest.raises(UsageError, match="--clusters 21: the space tiny has only 20 images; ask for at most 20"):
        cluster(make_collection(clustered(20, 8, 4)), clusters=21)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clusters": 0}, "--clusters 0"),
        ({"iterations": 0}, "--iterations 0"),
        ({"restarts": 0}, "--restarts 0"),
        ({"points_per_centroid": 0}, "--points-per-centroid 0"),
        ({"seed": -1}, "--seed -1"),
        ({"name": "../up"}, "cannot be the name of a clustering"),
    ],
)
def test_settings_out_of_range_are_rejected(settings, message):
    with pytest.raises(UsageError, match=message):
        ClusterSettings(**settings)


def test_empty_space_is_rejected(make_collection):
    with pytest.raises(NotBuiltError, match="The space tiny has no embeddings to cluster"):
        cluster(make_collection(np.empty((0, 8), np.float32), part_rows=[0]))


def test_unknown_space_is_rejected(make_collection, clustered):
    with pytest.raises(NotFoundError, match="no space 'huge'; it has: tiny"):
        cluster(make_collection(clustered(20, 8, 4)), space="huge")


def test_non_finite_embeddings_are_counted_and_named(make_collection, clustered):
    vectors = clustered(300, 8, 4)
    vectors[150, 3], vectors[151, 0], vectors[290, 7] = np.nan, np.inf, -np.inf
    storage = make_collection(vectors)
    with pytest.raises(IndexerError, match=r"3 of 300 embeddings of the space tiny .* first is that of image 451"):
        cluster(storage, clusters=2, points_per_centroid=2)
    assert not (storage.root / "clusterings").exists()


def test_centroid_file_stores_the_inertia_of_its_training(make_collection, clustered):
    storage = make_collection(clustered(100, 8, 4))
    _, report = cluster(storage, clusters=4, restarts=3)
    trained = tables.read_centroids(storage, report.entry.centroids)
    assert trained.inertia == report.entry.inertia
    assert pq.read_table(storage.local(report.entry.centroids)).column_names == ["cluster", "centroid"]


@pytest.mark.parametrize(
    ("sampled", "k", "asked", "restarts"),
    [
        (200, 10, None, 30),  # 0.2 GFLOP per start: thirty starts take milliseconds
        (25_600, 100, None, 3),  # 262 GFLOP per start
        (256_000, 1_000, None, 1),
        (256_000, 1_000, 4, 4),  # the requested number, whatever it costs
    ],
)
def test_small_clusterings_are_started_more_often(sampled, k, asked, restarts):
    assert choose_restarts(sampled, k, 2048, ClusterSettings(restarts=asked)) == restarts


@pytest.mark.parametrize(
    ("rows", "k", "each", "sampled"),
    [
        (4_000, 5, 256, 4_000),  # a small space is used as a whole
        (50_000, 5, 256, 10_000),
        (50_000, 100, 256, 25_600),
        (4_000, 5, 100, 500),  # the requested number
    ],
)
def test_small_spaces_are_trained_on_as_a_whole(rows, k, each, sampled):
    assert sample_size(rows, k, ClusterSettings(points_per_centroid=each)) == sampled
