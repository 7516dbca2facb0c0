"""Thumbnails: made once, cached by the browser, bounded in memory."""

import asyncio
import io

import pytest
from PIL import Image

from lookalike.explorer.lru import ByteLru
from lookalike.explorer.settings import Bounds


@pytest.fixture
def tag(page):
    return page.get("/api/collection").json()["tag"]


def test_thumbnail_is_a_jpeg_that_may_be_cached(page, tag):
    reply = page.get(f"/thumbnails/{tag}/3/160.jpg")
    assert reply.status_code == 200
    with Image.open(io.BytesIO(reply.content)) as picture:
        assert picture.format == "JPEG"
    assert reply.headers["etag"] == f'"{tag}-3-160"'
    assert "max-age=86400" in reply.headers["cache-control"]
    assert reply.headers["cache-control"].startswith("private")


def test_thumbnail_with_a_matching_etag_is_not_sent_again(page, toy, tag):
    etag = page.get(f"/thumbnails/{tag}/3/160.jpg").headers["etag"]
    toy.calls.clear()
    reply = page.get(f"/thumbnails/{tag}/3/160.jpg", headers={"If-None-Match": f'"other", {etag}'})
    assert (reply.status_code, reply.content) == (304, b"")
    assert toy.calls == []


def test_thumbnail_is_requested_once(page, toy, tag):
    first = page.get(f"/thumbnails/{tag}/3/160.jpg")
    second = page.get(f"/thumbnails/{tag}/3/160.jpg")
    assert first.content == second.content
    assert toy.calls.count("GetThumbnails") == 1


def test_concurrent_thumbnail_requests_share_one_call(page, toy, tag):
    replies = page.together(*(f"/thumbnails/{tag}/{number}/160.jpg" for number in [*range(8), 3, 3]))
    assert [reply.status_code for reply in replies] == [200] * 10
    assert toy.calls.count("GetThumbnails") == 1
    asked = next(each for each in toy.requests if type(each).__name__ == "GetThumbnailsRequest")
    assert list(asked.ids) == list(range(8))


def test_unknown_image_does_not_take_the_others_with_it(page, tag):
    good, bad, lost = page.together(*(f"/thumbnails/{tag}/{number}/160.jpg" for number in (1, 999, 10)))
    assert good.status_code == 200
    assert (bad.status_code, bad.json()["kind"]) == (404, "missing")
    assert lost.status_code == 404  # the file of image 10 is gone
    assert "can no longer be read" in lost.json()["error"]


def test_only_the_sizes_of_the_page_are_made(page, tag):
    assert page.get(f"/thumbnails/{tag}/3/161.jpg").status_code == 400


def test_tag_changes_with_the_generation(page, toy, tag):
    toy.generation = 2
    assert page.get("/api/collection").json()["tag"] != tag


def test_failed_thumbnail_call_is_reported_to_each_and_not_cached(page, toy, tag):
    import grpc

    toy.fail(grpc.StatusCode.INTERNAL, "Broken.", times=1)
    failed = page.together(*(f"/thumbnails/{tag}/{number}/64.jpg" for number in (1, 2)))
    assert [reply.status_code for reply in failed] == [502, 502]
    assert page.get(f"/thumbnails/{tag}/1/64.jpg").status_code == 200


def test_cache_drops_what_was_not_used_for_longest():
    held = ByteLru[str](1000)
    for name in "abc":
        held.put(name, bytes(100))
    held.get("a")
    held.put("d", bytes(100))
    assert held.get("b") is None
    assert held.get("a") == bytes(100)
    assert held.size == 900
    held.put("a", bytes(50))
    assert held.size == 850
    held.put("large", bytes(2000))
    assert (held.get("large"), len(held), held.size) == (None, 0, 0)


def test_uploads_beyond_the_cache_limit_are_evicted(toy, serve, red_png):
    bounds = Bounds(upload_bytes=len(red_png) + 250)
    with serve(toy.address, bounds=bounds) as page:
        first = page.post("/api/uploads", content=red_png).json()["upload"]
        second = page.post("/api/uploads", content=red_png + b"\0").json()["upload"]
        assert page.get(f"/api/uploads/{second}").status_code == 200
        reply = page.get("/api/search", params={"upload": first})
        assert (reply.status_code, reply.json()["kind"]) == (404, "missing")
        assert "drop it on the page again" in reply.json()["error"]


def test_caller_that_leaves_does_not_cancel_what_another_waits_for(toy):
    from lookalike.aio import Client
    from lookalike.explorer.thumbnails import Thumbnails

    async def scene() -> bytes:
        async with Client(toy.address) as client:
            thumbnails = Thumbnails(1 << 20)
            leaving = asyncio.create_task(thumbnails.get(client, "t", 3, 160))
            staying = asyncio.create_task(thumbnails.get(client, "t", 3, 160))
            await asyncio.sleep(0)
            leaving.cancel()
            return await staying

    assert asyncio.run(scene()).startswith(b"\xff\xd8\xff")
