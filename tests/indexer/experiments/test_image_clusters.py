from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.charts.image_clusters import agreement_figure, cluster_montages
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.image_clusters import image_clusters
from lookalike_indexer.experiments.view import View

# On a line: three cats, two dogs, a distant cat.
PLACES = [0.0, 1.0, 3.0, 10.0, 12.0, 40.0]
LABELS = ["cat", "cat", None, "dog", "dog", "cat"]


@pytest.fixture
def view(make_collection, publish_clustering, publish_predictions) -> View:
    vectors = np.stack([PLACES, np.ones(6)], axis=1).astype(np.float32)
    storage = make_collection(vectors, labels=LABELS)
    publish_clustering(storage, [0, 0, 0, 1, 1, 1], name="coarse")
    publish_clustering(storage, [0, 0, 0, 1, 1, 2], name="fine")
    return View(publish_predictions(storage, [["tabby", "lynx"]] * 6))


def test_cluster_is_reported_in_every_clustering(view: View):
    found = image_clusters(view, 3)
    lines = found.tables["clusters"].to_pylist()
    assert [(line["clustering"], line["cluster"], line["size"], line["label"]) for line in lines] == [
        ("tiny/coarse", 1, 3, "dog"),
        ("tiny/fine", 1, 2, "dog"),
    ]
    assert [line["purity"] for line in lines] == pytest.approx([2 / 3, 1])
    assert [line["own_share"] for line in lines] == pytest.approx([2 / 3, 1])
    assert lines[1]["distance"] == pytest.approx(1)
    assert found.figures["spaces"] == 1


def test_members_are_the_nearest_to_the_image_not_the_image_itself(view: View):
    lines = image_clusters(view, 3, members=1).tables["members"].to_pylist()
    assert [(line["clustering"], line["rank"], line["id"], line["label"]) for line in lines] == [
        ("tiny/coarse", 1, 13, "dog"),
        ("tiny/fine", 1, 13, "dog"),
    ]
    assert [line["distance"] for line in lines] == pytest.approx([2, 2])
    every = image_clusters(view, 0).tables["members"].to_pydict()
    assert every["distance"] == pytest.approx([1, 3, 1, 3])
    assert every["label"] == ["cat", "", "cat", ""]
    assert image_clusters(view, 0, members=0).tables["members"].num_rows == 0


def test_predictions_and_agreement_come_along(view: View):
    found = image_clusters(view, 0)
    (one, two) = found.tables["predictions"].to_pylist()
    assert (one["model"], one["rank"], one["class"], two["class"]) == ("tiny", 1, "tabby", "lynx")
    assert one["probability"] == pytest.approx(0.45)
    (pair,) = found.tables["agreement"].to_pylist()
    assert (pair["first"], pair["second"], pair["images"]) == ("tiny/coarse", "tiny/fine", 6)
    # Pairs that are together: 4 in both, of 6 and 4, of 15.
    assert pair["ari"] == pytest.approx((4 - 24 / 15) / (5 - 24 / 15))


def test_findings_tell_where_an_image_lies_among_others(view: View):
    told = image_clusters(view, 5).findings
    assert "It lies among others in tiny/coarse (dog)." in told
    assert "Its own label is the most frequent one of its cluster in 1 of 2 clusterings." in told
    assert "tiny takes it for tabby (45%)." in told


def test_unassigned_image_has_no_members(make_collection, publish_clustering, clustered):
    storage = make_collection(clustered(4, 2, 2), labels=["a"] * 4)
    view = View(publish_clustering(storage, [0, 0, 1, 1]))
    view.assigned("tiny/made").clusters.setflags(write=True)
    view.assigned("tiny/made").clusters[0] = -1
    found = image_clusters(view, 0)
    (line,) = found.tables["clusters"].to_pylist()
    assert (line["cluster"], line["size"], found.tables["members"].num_rows) == (-1, 0, 0)
    (montage,) = cluster_montages(found, 0, Thumbnails(view))
    assert montage[0] == "tiny/made"


def test_montages_have_a_tile_for_the_image_and_each_member(view: View):
    found = image_clusters(view, 0, members=2)
    montages = dict(cluster_montages(found, 0, Thumbnails(view)))
    assert list(montages) == ["tiny/coarse", "tiny/fine"]
    # The files do not exist: three gray placeholders.
    gray = (np.asarray(montages["tiny/fine"]) == (0xE4, 0xE4, 0xE4)).all(axis=2).sum()
    assert 0.9 * 3 * 128**2 < gray < 3 * 128**2
    assert agreement_figure(found).axes[0].images[0].get_array().shape == (2, 2)


def test_invalid_arguments_are_rejected_with_a_reason(make_collection, clustered, view: View):
    with pytest.raises(UsageError, match="members is -1"):
        image_clusters(view, 0, members=-1)
    bare = make_collection(clustered(4, 2, 2), name="bare")
    with pytest.raises(NotBuiltError, match=r"lookalike cluster .* --space all"):
        image_clusters(View(CollectionReader.open(str(bare.root))), 0)
