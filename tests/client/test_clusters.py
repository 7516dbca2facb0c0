"""Cluster membership, members, clusters."""

import numpy as np
import pytest

import lookalike


def chord(degrees: float) -> float:
    """Return the Euclidean distance of two points of the unit circle at an angle of `degrees`."""
    return 2 * np.sin(np.deg2rad(degrees) / 2)


def test_stored_image_has_its_cluster_in_each_clustering(client):
    home = client.clusters(key="dogs/01.jpg", members=3)
    assert isinstance(home, lookalike.Memberships)
    assert home.clusterings == ("toy/halves",)
    assert home.clusters.tolist() == [0]
    assert home.sizes.tolist() == [5]
    assert home.distances == pytest.approx([chord(10)], rel=1e-6)
    assert home.margins == pytest.approx([chord(60) - chord(10)], rel=1e-5)
    one = home["toy/halves"]
    assert one == home[0]
    assert (one.clustering, one.cluster, one.size) == ("toy/halves", 0, 5)
    assert one.distance == pytest.approx(chord(10), rel=1e-6)
    assert one.nearest.keys == ("dogs/02.jpg", "dogs/01.jpg", "dogs/03.jpg")
    assert one.nearest.distances == pytest.approx([0, chord(10), chord(10)], abs=1e-6)
    assert one.nearest[1].margin == pytest.approx(chord(60) - chord(10), rel=1e-5)
    assert home.served.generation == 1
    assert repr(home) == "<Memberships 'toy/halves': 0 of 5>"


def test_unassigned_image_has_cluster_minus_one(client):
    lone = client.clusters(id=10)["toy/halves"]
    assert (lone.cluster, lone.size, len(lone.nearest)) == (-1, 0, 0)
    assert np.isnan(lone.distance)


def test_batch_has_a_row_for_each_query_and_a_column_for_each_clustering(client):
    many = client.clusters(vectors=np.eye(2), members=1, clusterings="toy/halves")
    assert isinstance(many, lookalike.MembershipsBatch)
    assert many.clusters.tolist() == [[0], [1]]
    assert many.distances == pytest.approx(np.array([[chord(20)], [chord(20)]]), rel=1e-6)
    assert (many.margins.shape, many.sizes.shape) == ((2, 1), (2, 1))
    assert [home[0].nearest.keys for home in many] == [("dogs/02.jpg",), ("cats/07.jpg",)]
    with pytest.raises(ValueError, match="read-only"):
        many.clusters[0, 0] = 7


def test_unanswered_clustering_is_named(client):
    home = client.clusters(key="dogs/01.jpg")
    with pytest.raises(KeyError, match=r"no clustering 'toy/thirds' here; there are: toy/halves"):
        home["toy/thirds"]


def test_members_are_read_page_by_page(client, toy):
    members = client.members("toy/halves", 1, page_size=2)
    assert toy.calls == []
    rows = list(members)
    assert [row.key for row in rows] == ["cats/07.jpg", "cats/06.jpg", "cats/08.jpg", "cats/05.jpg", "cats/09.jpg"]
    assert rows[0] == (7, "cats/07.jpg", "cats", 0.0, pytest.approx(chord(50), rel=1e-5), {})
    assert toy.calls == ["ListMembers"] * 3
    assert [request.page_token for request in toy.requests] == ["", "1:2", "1:4"]
    assert len(list(members)) == 5  # each iteration starts from the beginning


def test_clusters_are_listed_with_their_sizes(client):
    clusters = client.list_clusters("toy/halves")
    assert clusters.sizes.tolist() == [5, 5]
    mean = (2 * chord(10) + 2 * chord(20)) / 5
    assert clusters.mean_distances == pytest.approx([mean, mean], rel=1e-6)
    assert clusters[1] == (1, 5, pytest.approx(mean, rel=1e-6))
    assert repr(clusters) == "<Clusters 2 of 'toy/halves', 10 members>"


def test_unknown_clustering_is_not_found(client):
    with pytest.raises(lookalike.NotFoundError, match="there is: toy/halves"):
        client.list_clusters("toy/thirds")
    with pytest.raises(lookalike.NotFoundError):
        list(client.members("toy/thirds", 0))


def test_negative_cluster_number_is_rejected(client):
    with pytest.raises(lookalike.InvalidArgumentError, match="cluster=-1 must be an integer of at least 0"):
        list(client.members("toy/halves", -1))
