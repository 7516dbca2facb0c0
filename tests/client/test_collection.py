"""The collection, its images, the server."""

import io

import grpc
import numpy as np
import pytest
from PIL import Image

import lookalike


def test_info_describes_the_collection(client):
    info = client.info()
    assert (info.name, info.generation, info.images, info.rejects, info.labels) == ("circle", 1, 11, 1, 2)
    space = info.spaces[0]
    assert (space.name, space.model, space.dim, space.pretrained) == ("toy", "toynet", 2, True)
    assert space.index == lookalike.Index(
        "IVF8,Flat", "cosine", 8, 4, (lookalike.RecallPoint(4, 0.95), lookalike.RecallPoint(8, 0.99)), 11
    )
    assert info.spaces[1].index is None
    assert info.clusterings == (lookalike.Clustering("toy/halves", "toy", 2, True, 1.25, 10, strategy="spherical"),)


def test_lookup_gives_one_image_or_several_in_the_order_requested(client):
    one = client.lookup(key="cats/07.jpg")
    assert one == lookalike.StoredImage(7, "cats/07.jpg", "cats", "/photos/cats/07.jpg", 647, 487)
    assert client.lookup(id=7) == one
    several = client.lookup(keys=["other/ünï 10.jpg", "cats/07.jpg"])
    assert several.ids.tolist() == [10, 7]
    assert several.labels == (None, "cats")
    assert several.widths.dtype == np.int32
    assert several[1] == one
    assert repr(several) == "<StoredImages 2: 'other/ünï 10.jpg', 'cats/07.jpg'>"
    with pytest.raises(lookalike.NotFoundError, match="id 99"):
        client.lookup(ids=[1, 99])


def test_images_are_read_page_by_page(client, toy):
    assert [image.id for image in client.images(page_size=4)] == list(range(11))
    assert toy.calls == ["ListImages"] * 3
    pages = list(client.images(label="cats", page_size=3).pages())
    assert [page.items.ids.tolist() for page in pages] == [[5, 6, 7], [8, 9]]
    assert {page.total for page in pages} == {5}
    assert list(client.images(label="birds")) == []


def test_images_are_read_in_the_order_requested(client, toy):
    spread = [image.id for image in client.images(order="spread", page_size=4)]
    assert spread[:3] == [0, 7, 3]
    assert sorted(spread) == list(range(11))
    with pytest.raises(lookalike.InvalidArgumentError, match="order='random' must be 'id' or 'spread'"):
        client.images(order="random").pages().__next__()
    assert toy.calls == ["ListImages"] * 3


def test_labels_come_with_how_many_images_have_them(client, toy):
    (first, second) = client.labels(page_size=1).pages()
    assert (first.items.labels, first.items.images.tolist(), first.total) == (("cats",), [5], 2)
    assert second.items[0] == lookalike.Label("dogs", 5)
    assert repr(second.items) == "<Labels 1: 'dogs'>"
    assert "dogs" in second.items._repr_html_()
    assert second.items.images.dtype == np.int64
    assert toy.calls == ["ListLabels"] * 2


def test_new_generation_between_pages_is_an_error(client, toy):
    images = iter(client.images(page_size=4))
    assert next(images).id == 0
    toy.generation = 2
    with pytest.raises(lookalike.GenerationChangedError, match="another generation") as caught:
        list(images)
    assert isinstance(caught.value, lookalike.FailedPreconditionError)


def test_page_of_a_new_generation_is_an_error(client, toy):
    def newer(method, reply):
        if toy.calls.count("ListMembers") == 2:
            reply.served.generation = 2

    toy.change = newer
    with pytest.raises(lookalike.GenerationChangedError, match="Generation 2 replaced 1"):
        list(client.members("toy/halves", 0, page_size=2))


def test_precondition_that_fails_on_the_first_page_is_not_about_generations(client, toy):
    toy.fail(grpc.StatusCode.FAILED_PRECONDITION, "The collection has no clustering.")
    with pytest.raises(lookalike.FailedPreconditionError) as caught:
        list(client.members("toy/halves", 0))
    assert type(caught.value) is lookalike.FailedPreconditionError


def test_thumbnails_are_jpegs_in_the_order_requested(client):
    pictures = client.thumbnails(np.array([9, 0, 10]), size=64)
    assert len(pictures) == 3
    for jpeg, red in zip(pictures.jpegs[:2], (225, 0), strict=True):
        with Image.open(io.BytesIO(jpeg)) as image:
            assert image.size == (64, 48)
            assert np.asarray(image)[..., 0].mean() == pytest.approx(red, abs=3)
    assert pictures[2] is None


def test_server_info_reports_devices_and_limits(client, toy):
    info = client.server_info()
    assert (info.version, info.collection, info.placement, info.devices) == ("1.2.3", "circle", "cpu", ("cpu",))
    told = (256, 1000, 8, 20_000_000, 100_000_000, 16 << 20, 1000, 100, 512, 8, 1000)
    assert info.limits == lookalike.Limits(*told, *[0] * 6), "0 is what an older server tells"
    assert info.image_queries
    assert info.image_query_problem == ""
    toy.image_queries = False
    assert client.server_info().image_query_problem == "the weights are not here"


def test_is_serving_asks_the_standard_health_check(client, connect):
    assert client.is_serving() is True
    assert client.is_serving("circle") is True
    assert client.is_serving("draining") is False
    with pytest.raises(lookalike.NotFoundError):
        client.is_serving("square")
    assert connect("127.0.0.1:1", retries=0).is_serving(timeout=60) is False


def test_lookup_needs_exactly_one_query(client):
    with pytest.raises(lookalike.InvalidArgumentError, match="Pass exactly one of key, id, keys, ids"):
        client.lookup()
    with pytest.raises(lookalike.InvalidArgumentError, match="not key and id together"):
        client.lookup(key="a", id=1)
    with pytest.raises(lookalike.InvalidArgumentError, match="ids= is empty"):
        client.thumbnails([])
