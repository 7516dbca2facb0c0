"""Invalid arguments are found before anything is sent, and named."""

import io

import numpy as np
import pytest
from PIL import Image

import lookalike
from lookalike._images import picture_bytes


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        ({}, "Pass exactly one of key, keys, id, ids, image, images, vector, vectors, text, texts; none was given"),
        ({"key": None}, "none was given"),
        ({"key": "a", "id": 1}, "not key and id together"),
        ({"keys": "dogs/01.jpg"}, "keys= takes a sequence; for a single one use key="),
        ({"keys": []}, "keys= is empty"),
        ({"key": 7}, "A key must be a str, not 7"),
        ({"key": "a\udc80"}, "is not valid Unicode"),
        ({"ids": 7}, "ids= takes a sequence; for a single one use id="),
        ({"id": 1.5}, "An id must be a 64-bit integer, not 1.5"),
        ({"id": True}, "An id must be a 64-bit integer, not True"),
        ({"id": 2**63}, "An id must be a 64-bit integer"),
        ({"vector": np.ones((1, 2))}, r"vector= has the shape \(1, 2\); it must be \(dim,\): for several use vectors="),
        (
            {"vectors": np.ones(2)},
            r"vectors= has the shape \(2,\); it must be \(n, dim\): for a single one use vector=",
        ),
        ({"vectors": np.ones((0, 2))}, r"vectors= is empty: it has the shape \(0, 2\)"),
        ({"vector": np.array([1, 2])}, "vector= is an array of int64; embeddings are float32"),
        ({"vector": ["a"]}, "vector= is an array of <U1"),
        ({"vectors": [[1.0], [1.0, 2.0]]}, "vectors= is not an array"),
        ({"vectors": np.array([[1.0, 2.0], [np.nan, 0.0]])}, "vectors= has a value that is NaN, .* in row 1"),
        ({"vector": np.array([1e300, 0.0])}, "infinite or beyond float32"),
        ({"vector": np.ones(2, np.complex64)}, "array of complex64"),
        ({"key": "a", "fingerprint": "f"}, "fingerprint= tells the space of vectors"),
        ({"key": "a", "k": 0}, "k=0 must be an integer of at least 1"),
        ({"key": "a", "k": 2**31}, "k=2147483648 must be"),
        ({"key": "a", "k": "10"}, "k='10' must be"),
        ({"key": "a", "nprobe": 0}, "nprobe=0 must be an integer of at least 1"),
        ({"key": "a", "recall": 0}, "recall=0 must be above 0 and at most 1"),
        ({"key": "a", "recall": 1.01}, "recall=1.01 must be above 0"),
        ({"key": "a", "recall": np.nan}, "recall=nan must be above 0"),
        ({"key": "a", "recall": "0.9"}, "recall='0.9' must be"),
        ({"key": "a", "nprobe": 4, "exact": True}, "at most one of nprobe=, recall= and exact="),
        ({"key": "a", "nprobe": 4, "recall": 0.5}, "at most one of nprobe=, recall= and exact="),
        ({"key": "a", "timeout": 0}, "timeout=0 must be a number of seconds above 0"),
        ({"key": "a", "timeout": -1.0}, "timeout=-1.0 must be"),
        ({"key": "a", "timeout": float("nan")}, "timeout=nan must be"),
    ],
)
def test_invalid_argument_has_a_one_sentence_error(client, toy, ask, sentence):
    with pytest.raises(lookalike.InvalidArgumentError, match=sentence) as caught:
        client.search(**ask)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code is None
    assert toy.calls == []


def test_unknown_argument_is_a_type_error(client):
    with pytest.raises(TypeError, match="unexpected argument 'pic'"):
        client.search(pic="a.jpg")
    with pytest.raises(TypeError, match="unexpected argument 'name'"):
        client.lookup(name="a.jpg")


@pytest.mark.parametrize(
    ("method", "given", "sentence"),
    [
        ("search", {"key": "a.jpg", "limit": 3}, "'limit'; use k=$"),
        ("search", {"key": "a.jpg", "top_k": 3}, "'top_k'; use k=$"),
        ("search", {"key": "a.jpg", "filter": "label = 'dogs'"}, "'filter'; use where=$"),
        ("search", {"embedding": [0.0, 1.0]}, "'embedding'; use vector=$"),
        ("search", {"key": "a.jpg", "nprobes": 3}, r"'nprobes'; did you mean nprobe=\?$"),
        ("membership", {"key": "a.jpg", "clustering": "toy/halves"}, r"did you mean clusterings=\?$"),
        ("explain", {"key": "a.jpg", "neighbours": 3}, "'neighbours'; use neighbors=$"),
        ("oddballs", {"n": 3}, "'n'; use limit=$"),
        ("list_clusters", {"xyz": 3}, "there are: clustering, timeout, where$"),
    ],
)
def test_unknown_argument_suggests_the_right_one(client, toy, method, given, sentence):
    with pytest.raises(TypeError, match=sentence):
        getattr(client, method)(**given)
    assert toy.calls == []


def test_invalid_images_are_named(client, toy, tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    wrong = [
        ("no such.jpg", "There is no image file 'no such.jpg'"),
        (tmp_path, "cannot be read: Is a directory"),
        (empty, "is empty: it has 0 bytes"),
        (b"", "The image is empty"),
        ("nul\0.jpg", "nul"),
        (7, "must be a path, .* an array of pixels or a Pillow image, not a int"),
    ]
    for picture, sentence in wrong:
        with pytest.raises(lookalike.InvalidArgumentError, match=sentence):
            client.search(image=picture)
    assert toy.calls == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "HSV", "LAB", "F", "I"])
def test_pillow_image_of_any_mode_goes_over_without_loss(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)
    gray = pixels[..., 0]
    image = {
        "LA": lambda: Image.fromarray(np.ascontiguousarray(pixels[..., :2])),
        "I;16": lambda: Image.fromarray(gray.astype(np.uint16) * 257),
        "F": lambda: Image.fromarray(gray.astype(np.float32) / 7),
        "I": lambda: Image.fromarray(gray.astype(np.int32) * 70000),
        "CMYK": lambda: Image.frombytes("CMYK", (8, 6), pixels.tobytes()),
        "LAB": lambda: Image.frombytes("LAB", (8, 6), np.ascontiguousarray(pixels[..., :3]).tobytes()),
        "RGBA": lambda: Image.fromarray(pixels),
    }.get(mode, lambda: Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert(mode))()
    assert image.mode == mode
    with Image.open(io.BytesIO(picture_bytes(image))) as back:
        if mode in ("YCbCr", "HSV"):  # no lossless format has them, and all decode to RGB
            image = image.convert("RGB")
        assert back.mode == image.mode
        assert back.tobytes() == image.tobytes()


def test_pillow_image_keeps_the_orientation_of_its_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (8, 4)).save(path, exif=exif)
    with Image.open(path) as image, Image.open(io.BytesIO(picture_bytes(image))) as back:
        assert back.getexif()[0x0112] == 6


def test_wrong_settings_of_a_client_are_named(connect):
    for target, settings, sentence in [
        ("", {}, "must be like '127.0.0.1:50051'"),
        ("127.0.0.1", {}, "must be like '127.0.0.1:50051'"),
        (50051, {}, "address is 50051; it must be like"),
        ("http://127.0.0.1:50051", {}, "must be like '127.0.0.1:50051'"),
        ("127.0.0.1:50051", {"retries": "3"}, "retries='3' must be 0 to 4"),
        ("127.0.0.1:50051", {"retries": 5}, "retries=5 must be 0 to 4"),
        ("127.0.0.1:50051", {"timeout": "soon"}, "timeout='soon' must be a number"),
        ("127.0.0.1:50051", {"tls": lookalike.TLS(ca="none.pem")}, "TLS ca: 'none.pem' cannot be read"),
    ]:
        with pytest.raises(lookalike.InvalidArgumentError, match=sentence):
            connect(target, **settings)
    with pytest.raises(lookalike.InvalidArgumentError, match="cert and key together"):
        lookalike.TLS(cert="client.pem")
