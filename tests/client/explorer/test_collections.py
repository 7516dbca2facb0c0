"""A server of several collections: each request is about the collection that its URL names."""

from __future__ import annotations

import grpc
import pytest

from lookalike.explorer.settings import Bounds
from lookalike.v1 import server_pb2

FLOWERS = {"collection": "flowers"}


@pytest.fixture
def two(toy):
    """A server with two collections, the second of which is not loaded; each answers under its name."""

    def change(method, reply):
        if method == "ListCollections":
            problem = "embeddings/toy/part-0.parquet is not what was written."
            reply.collections.append(server_pb2.ServedCollection(name="flowers", problem=problem))
        elif method == "GetCollection":
            reply.name = toy.requests[-1].collection or "toys"

    toy.change = change
    return toy


def test_collections_are_listed_with_their_problems(page, two):
    first, second = page.get("/api/collections").json()["collections"]
    assert (first["name"], first["images"] > 0, first["problem"]) == ("toys", True, "")
    assert (second["name"], second["images"]) == ("flowers", 0)
    assert second["problem"] == "embeddings/toy/part-0.parquet is not what was written."


def test_server_that_cannot_list_has_no_collections_to_choose_from(page, toy):
    toy.fail(grpc.StatusCode.UNIMPLEMENTED, "Unknown method.")
    assert page.get("/api/collections").json() == {"collections": []}


@pytest.mark.parametrize("path", ["collection", "images", "labels", "search", "image"])
@pytest.mark.parametrize("name", ["flowers", ""])
def test_request_is_about_the_collection_of_its_address(page, two, path, name):
    asked = {"id": 3} if path in ("search", "image") else {}
    assert page.get(f"/api/{path}", params={**asked, "collection": name}).status_code == 200
    assert {request.collection for request in two.requests} == {name}


def test_thumbnail_is_of_the_requested_collection(page, two):
    tag = page.get("/api/collection").json()["tag"]
    other = page.get("/api/collection", params=FLOWERS).json()["tag"]
    assert tag != other
    assert page.get(f"/thumbnails/{tag}/3/160.jpg").status_code == 200
    two.requests.clear()
    # Cached data of the tag must not reach a caller who may only see another collection.
    assert page.get(f"/thumbnails/{tag}/3/160.jpg", params=FLOWERS).status_code == 200
    asked = [request for request in two.requests if type(request).__name__ == "GetThumbnailsRequest"]
    assert [request.collection for request in asked] == ["flowers"]


def test_unloaded_collection_differs_from_an_unavailable_server(page, two):
    # Each call is retried once, so two calls fail.
    two.fail(grpc.StatusCode.UNAVAILABLE, "This collection is not loaded: it is damaged.", times=2)
    reply = page.get("/api/collection", params=FLOWERS)
    assert (reply.status_code, reply.json()["kind"]) == (503, "not-loaded")
    assert reply.json()["error"] == "embeddings/toy/part-0.parquet is not what was written."
    two.fail(grpc.StatusCode.UNAVAILABLE, "The device is lost.", times=2)
    assert page.get("/api/collection").json()["kind"] == "gone"
    two.fail(grpc.StatusCode.UNAVAILABLE, "Nobody is there.")
    assert page.get("/api/collection", params=FLOWERS).json()["kind"] == "gone"


def test_unknown_collection_names_keep_no_connections(serve, two):
    with serve(two.address, bounds=Bounds(collections=2)) as page:
        for name in ("a", "b", "c", "a", ""):
            reply = page.get("/api/collection", params={"collection": name}).json()
            assert reply["collection"]["name"] == (name or "toys")


def test_invalid_collection_name_is_a_bad_request(page, two):
    reply = page.get("/api/collection", params={"collection": "x" * 2000})
    assert (reply.status_code, reply.json()["kind"]) == (400, "wrong")


def test_collection_that_a_token_does_not_allow_ends_no_session(page, two):
    assert page.post("/login", content="some-token").status_code == 200
    two.fail(grpc.StatusCode.PERMISSION_DENIED, "The token of gardener is limited to: flowers.", times=1)
    reply = page.get("/api/collection", params={"collection": "toys"})
    assert (reply.status_code, reply.json()["kind"]) == (403, "denied")
    assert reply.json()["error"] == "The token of gardener is limited to: flowers."
    assert page.get("/api/collection", params=FLOWERS).status_code == 200


def test_visitor_without_a_token_is_asked_to_log_in(page, two):
    two.fail(grpc.StatusCode.PERMISSION_DENIED, "The token of page is limited to: flowers.", times=1)
    assert page.get("/api/collection").json()["kind"] == "login"
