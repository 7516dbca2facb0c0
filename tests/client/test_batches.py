"""Requests of any number of rows: split into calls within the server's limits, and joined to one result."""

import io

import grpc
import numpy as np
import pytest
from PIL import Image

import lookalike

from .conftest import KEYS, VECTORS


def many(count: int) -> np.ndarray:
    """Return vectors whose nearest image is the row's number, modulo the number of images."""
    return VECTORS[np.arange(count) % len(VECTORS)].astype(np.float32)


def picture(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (red, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_300_vectors_are_sent_in_two_calls_and_answered_as_one_batch(client, toy):
    found = client.search(vectors=many(300), k=2, fields=["label"])
    assert toy.calls == ["Search", "Search"]
    assert len(found) == 300
    assert found.counts.tolist() == [2] * 300
    assert found.offsets.tolist() == list(range(0, 601, 2))
    assert [one.keys[0] for one in found] == [KEYS[row % len(KEYS)] for row in range(300)]
    assert found[299].ids[0] == 299 % len(KEYS)
    assert found.served.timings.total_us == 2 * 1500
    assert found.served.batch_size == 256
    assert not found.ids.flags.writeable


@pytest.mark.parametrize("name", ["keys", "ids", "vectors"])
def test_each_kind_of_batch_may_have_any_number_of_rows(client, toy, name):
    given = {"keys": KEYS * 30, "ids": list(range(len(KEYS))) * 30, "vectors": many(330)}[name]
    vectors = client.vectors(**{name: given}) if name != "vectors" else None
    if vectors is not None:
        np.testing.assert_allclose(vectors, many(330), atol=1e-6)
    homes = client.membership(**{name: given}, members=1)
    assert len(homes) == 330
    assert homes.clusters[:11, 0].tolist() == homes.clusters[319:, 0].tolist()
    assert [one.nearest[0].keys for one in homes[:11]] == [one.nearest[0].keys for one in homes[319:]]


def test_images_and_thumbnails_are_looked_up_in_any_number(client, toy):
    found = client.lookup(keys=KEYS * 100)
    assert toy.calls == ["GetImages", "GetImages"]
    assert found.keys == tuple(KEYS * 100)
    small = client.thumbnails([0, 9] * 200, size=32)
    assert toy.calls[2:] == ["GetThumbnails", "GetThumbnails"]
    assert len(small) == 400
    assert small[0] == small[398] != small[399]


def test_images_are_divided_by_their_bytes(client, toy, monkeypatch):
    monkeypatch.setattr("lookalike._batches._USUAL_BYTES", 3 * max(len(picture(red)) for red in range(0, 250, 25)))
    found = client.search(images=[picture(red) for red in range(0, 250, 25)], k=1)
    assert len(toy.calls) == 4
    assert [one.keys[0] for one in found] == [one.keys[0] for one in map(_alone(client), range(0, 250, 25))]


def _alone(client):
    return lambda red: client.search(image=picture(red), k=1)


class Pipe(io.RawIOBase):
    """A stream that can be read only once."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        data, self._data = self._data, b""
        return data

    read = readall


def test_stream_is_read_once_across_calls(client, toy, monkeypatch):
    monkeypatch.setattr("lookalike._batches._USUAL_BYTES", len(picture(0)))
    found = client.search(images=[Pipe(picture(red)) for red in (0, 100, 200)], k=1)
    assert toy.calls == ["Search"] * 3
    assert [one.keys[0] for one in found] == [one.keys[0] for one in map(_alone(client), (0, 100, 200))]


def test_lower_server_limits_are_requested(client, toy):
    toy.max_batch = 4
    found = client.search(ids=list(range(10)), k=1)
    assert toy.calls == ["Search", "GetServerInfo", "Search", "Search", "Search"]
    assert len(found) == 10
    assert [len(request.query.ids.values) for request in toy.requests[2:]] == [4, 4, 2]


def test_streams_are_sent_again_where_a_server_has_lower_limits(client, toy):
    toy.max_batch = 2
    found = client.search(images=[Pipe(picture(red)) for red in (0, 100, 200)], k=1)
    assert [one.keys[0] for one in found] == [one.keys[0] for one in map(_alone(client), (0, 100, 200))]


def test_caller_may_ask_for_smaller_calls_and_sees_the_progress(client, toy):
    seen = []
    client.search(vectors=many(25), k=1, batch_size=10, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10, 25), (20, 25), (25, 25)]
    assert toy.calls == ["Search"] * 3
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(lookalike.InvalidArgumentError, match="batch_size="):
            client.search(vectors=many(3), batch_size=wrong)


def test_bar_shows_the_progress(client, capsys):
    pytest.importorskip("tqdm")
    client.search(vectors=many(300), k=1, progress=True)
    assert "300/300" in capsys.readouterr().err


def test_errors_count_rows_from_the_beginning_of_the_request(client, toy):
    images = [picture(0)] * 5 + [b"no picture"] + [picture(0)]
    found = client.search(images=images, k=1, errors="rows", batch_size=2)
    assert found.errors == {5: "Image 5 cannot be decoded."}
    assert found.counts.tolist() == [1, 1, 1, 1, 1, 0, 1]
    with pytest.raises(lookalike.InvalidArgumentError, match=r"Query 4 has no direction"):
        client.search(vectors=[[1.0, 0], [0, 1], [1, 0], [1, 0], [0.0, 0]], batch_size=2)
    with pytest.raises(lookalike.InvalidArgumentError, match=r"Image 5: .*'missing.jpg'"):
        client.embed(images=[picture(0)] * 5 + ["missing.jpg"], batch_size=2)


def test_error_of_a_later_call_keeps_the_server_message(client, toy):
    with pytest.raises(lookalike.NotFoundError, match="no image with the id 99") as caught:
        client.search(ids=[0, 1, 99], batch_size=1)
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_answers_of_two_generations_are_not_mixed(client, toy):
    def change(method, reply):
        reply.served.generation = len(toy.calls)

    toy.change = change
    with pytest.raises(lookalike.GenerationChangedError, match="from generation 1 to 2"):
        client.search(ids=[0, 1], k=1, batch_size=1)


def test_looked_up_images_are_of_one_generation(client, toy):
    def change(method, reply):
        reply.served.generation = len(toy.calls)

    toy.change = change
    with pytest.raises(lookalike.GenerationChangedError, match="from generation 1 to 2"):
        client.lookup(ids=[0] * 1001)
    toy.calls.clear()
    with pytest.raises(lookalike.GenerationChangedError, match="from generation 1 to 2"):
        client.vectors(ids=[0, 1], batch_size=1)


def test_batch_does_not_mix_vectors_of_two_networks(client, toy):
    def change(method, reply):
        reply.served.generation = len(toy.calls)

    toy.change = change
    assert client.embed(images=[picture(0)] * 2, batch_size=1).shape == (2, 2), "one network embeds on"
    toy.change = lambda method, reply: setattr(reply, "space_fingerprint", f"space-{len(toy.calls)}")
    with pytest.raises(lookalike.GenerationChangedError, match="network"):
        client.embed(images=[picture(0)] * 2, batch_size=1)


def test_boxes_go_with_their_images(client, toy):
    client.embed(images=[picture(0)] * 3, boxes=[(0, 0, 4, 4), None, (1, 2, 3, 4)], batch_size=2)
    boxes = [[(one.x, one.y, one.width, one.height) for one in each.query.images.boxes] for each in toy.requests]
    assert boxes == [[(0, 0, 4, 4), (0, 0, 0, 0)], [(1, 2, 3, 4)]]
