"""Searches: requests and results."""

import numpy as np
import pytest
from PIL import Image

import lookalike


def test_search_by_key_gives_the_columns_of_one_query(client, geometry):
    near = client.search(key="dogs/01.jpg", k=4)
    assert isinstance(near, lookalike.Neighbors)
    assert near.keys == ("dogs/00.jpg", "dogs/02.jpg", "dogs/03.jpg", "dogs/04.jpg")
    assert near.labels == ("dogs",) * 4
    assert near.ids.tolist() == [0, 2, 3, 4]
    assert near.ids.dtype == np.int64
    assert near.distances.dtype == np.float32
    assert near.distances == pytest.approx([geometry(10), geometry(10), geometry(20), geometry(30)], abs=1e-6)
    assert near.uris is None
    assert len(near) == 4


def test_rows_carry_what_the_columns_do(client, geometry):
    near = client.search(id=9, k=2, uris=True)
    first, last = near
    assert first == (8, "cats/08.jpg", "cats", pytest.approx(geometry(10), abs=1e-6), "/photos/cats/08.jpg", {})
    assert near[-1] == last == near[1]
    assert near[np.int64(0)] == first
    with pytest.raises(IndexError, match="row 2 of 2"):
        near[2]


def test_image_without_a_label_has_none(client):
    far = client.search(key="dogs/00.jpg", k=1000)
    assert len(far) == 10
    assert far.keys[-1] == "other/ünï 10.jpg"
    assert far.labels[-1] is None


def test_columns_cannot_be_changed(client):
    near = client.search(key="dogs/01.jpg")
    many = client.search(ids=[1, 2])
    for column in (near.ids, near.distances, many.counts, many.offsets, many.ids, many.distances):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
    with pytest.raises(AttributeError):
        near.ids = near.ids


def test_batch_is_a_sequence_of_single_results(client):
    many = client.search(keys=["dogs/00.jpg", "cats/09.jpg", "dogs/02.jpg"], k=3)
    assert isinstance(many, lookalike.NeighborsBatch)
    assert len(many) == 3
    assert many.counts.tolist() == [3, 3, 3]
    assert many.offsets.tolist() == [0, 3, 6, 9]
    assert [near.ids.tolist() for near in many] == [[1, 2, 3], [8, 7, 6], [1, 3, 0]]
    assert many[1].keys == many.keys[3:6]
    assert many[-1].served == many.served
    assert many.served.batch_size == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_of_each_float_type_are_searched(client, geometry, dtype):
    vectors = np.array([[1, 0], [0, 2]], dtype)
    many = client.search(vectors=vectors, k=2)
    assert many.ids.tolist() == [0, 1, 9, 8]
    assert many.distances == pytest.approx([0, geometry(10), 0, geometry(10)], abs=1e-6)
    near = client.search(vector=vectors[1], k=2)
    assert near.ids.tolist() == [9, 8]


def test_vectors_may_be_lists_and_arrays_of_any_layout(client):
    assert client.search(vector=[0.0, 1.0], k=1).ids.tolist() == [9]
    wide = np.zeros((2, 6), np.float32)
    wide[:, ::3] = np.eye(2)
    assert client.search(vectors=wide[:, ::3], k=1).ids.tolist() == [0, 9]
    assert client.search(vectors=np.asfortranarray([[0.0, 1.0], [1.0, 0.0]]), k=1).ids.tolist() == [9, 0]


def test_image_gives_the_same_result_by_path_bytes_and_pillow(client, tmp_path):
    image = Image.new("RGB", (40, 30), (255, 0, 0))
    path = tmp_path / "my picture.png"
    image.save(path)
    ways = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), image]
    found = [client.search(image=picture, k=2).ids.tolist() for picture in ways]
    assert found == [[9, 8]] * 5
    many = client.search(images=[image, Image.new("L", (8, 8), 0)], k=1)
    assert many.ids.tolist() == [9, 0]


def test_ids_may_be_numpy_integers(client):
    assert client.search(ids=np.array([3, 4], np.int32), k=1).keys == ("dogs/02.jpg", "dogs/03.jpg")


def test_query_excludes_itself_by_default(client):
    assert client.search(id=5, k=1).ids.tolist() == [4]
    assert client.search(id=5, k=1, include_self=True).ids.tolist() == [5]


@pytest.mark.parametrize(
    ("effort", "nprobe", "expected_recall"),
    [
        ({}, 4, 0.95),
        ({"nprobe": 8}, 8, 0.99),
        ({"nprobe": 2}, 2, None),
        ({"recall": 0.99}, 8, 0.99),
        ({"exact": True}, 0, 1.0),
    ],
)
def test_effort_travels_with_the_call(client, toy, effort, nprobe, expected_recall):
    served = client.search(key="dogs/01.jpg", **effort).served
    assert (served.nprobe, served.expected_recall) == (nprobe, expected_recall)
    request = toy.requests[-1]
    assert request.WhichOneof("effort") == (next(iter(effort)) if effort else None)
    for name, value in effort.items():
        assert getattr(request, name) == pytest.approx(value)


def test_every_reply_names_what_served_it(client):
    served = client.search(key="dogs/01.jpg", space="toy.max").served
    assert served == lookalike.Served(
        collection="circle",
        generation=1,
        space="toy.max",
        device="cpu",
        nprobe=4,
        expected_recall=0.95,
        batch_size=1,
        pretrained=True,
        timings=lookalike.Timings(1, 2, 3, 4, 1500),
    )


def test_untrained_weights_are_reported(client, toy):
    toy.pretrained = False
    assert client.search(key="dogs/01.jpg").served.pretrained is False


def test_reprs_are_short_and_explain_what_matters(client):
    near = client.search(key="dogs/01.jpg", k=5)
    assert repr(near) == "<Neighbors 5: 'dogs/00.jpg' 0.01519, 'dogs/02.jpg' 0.01519, 'dogs/03.jpg' 0.06031, ...>"
    assert repr(client.search(ids=[1, 2], k=2)) == "<NeighborsBatch of 2 queries, 4 neighbors>"


def test_vectors_of_a_foreign_space_are_rejected_by_their_fingerprint(client):
    assert client.search(vector=[1.0, 0.0], fingerprint="f" * 64, k=1).ids.tolist() == [0]
    with pytest.raises(lookalike.InvalidArgumentError, match="of another space"):
        client.search(vector=[1.0, 0.0], fingerprint="0" * 64)


def test_servers_refusals_keep_their_words(client):
    with pytest.raises(lookalike.NotFoundError, match=r"^The collection circle has no image with the key 'nope'\.$"):
        client.search(key="nope")
    with pytest.raises(lookalike.InvalidArgumentError, match="has dimension 2, not 3"):
        client.search(vector=np.ones(3))
    with pytest.raises(lookalike.InvalidArgumentError, match="k is 1001"):
        client.search(id=1, k=1001)
