"""Images in every form that a query takes, and the bytes that are sent for a Pillow image."""

import asyncio
import io
import os
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

import lookalike
from lookalike._images import picture_bytes

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


@pytest.fixture
def photo() -> Image.Image:
    """Return blurred noise, on which formats differ in their losses."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    return Image.fromarray(noise).resize((96, 64))


def encoded(image: Image.Image, form: str = "JPEG", **more) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **more)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


class TestFiles:
    """File objects are read whole."""

    @pytest.mark.parametrize("place", [0, 10, -1])
    def test_object_in_memory_is_sent_from_its_start_and_stays_at_its_place(self, photo, place):
        data = encoded(photo)
        file = io.BytesIO(data)
        file.seek(place % len(data))
        assert picture_bytes(file) == data
        assert file.tell() == place % len(data)

    def test_open_file_is_sent(self, photo, tmp_path):
        path = tmp_path / "photo.jpg"
        path.write_bytes(encoded(photo))
        with path.open("rb") as file:
            assert picture_bytes(file) == path.read_bytes()
        with pytest.raises(lookalike.InvalidArgumentError, match=r"cannot be read: .*closed file"):
            picture_bytes(file)

    def test_unseekable_file_is_sent(self, photo):
        class Body:
            def __init__(self, data):
                self.read = io.BytesIO(data).read

        assert picture_bytes(Body(encoded(photo))) == encoded(photo)

    def test_pipe_is_sent(self, client, photo, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=[encoded(Image.new("RGB", (8, 8), (255, 0, 0)), "PNG")])
        writer.start()
        assert client.search(image=path, k=1).ids.tolist() == [9]
        writer.join()

    @pytest.mark.parametrize("method", ["search", "clusters"])
    async def test_pipe_does_not_hold_up_the_event_loop(self, toy, tmp_path, method):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        async with lookalike.aio.Client(toy.address) as client:
            call = asyncio.create_task(getattr(client, method)(images=[path]))
            # If the call blocked the loop, nothing would be written.
            await asyncio.sleep(0.2)
            path.write_bytes(encoded(Image.new("RGB", (8, 8), (255, 0, 0)), "PNG"))
            assert len(await call) == 1

    def test_text_is_rejected(self, tmp_path):
        path = tmp_path / "photo.txt"
        path.write_text("no image")
        with path.open() as file, pytest.raises(lookalike.InvalidArgumentError, match="open it in binary mode, 'rb'"):
            picture_bytes(file)
        with pytest.raises(lookalike.InvalidArgumentError, match="open it in binary mode"):
            picture_bytes(io.StringIO("no image"))

    def test_empty_file_is_rejected(self):
        with pytest.raises(lookalike.InvalidArgumentError, match="is empty"):
            picture_bytes(io.BytesIO())

    def test_one_for_several_is_rejected(self, client, photo):
        with pytest.raises(lookalike.InvalidArgumentError, match="for a single one use image="):
            client.search(images=io.BytesIO(encoded(photo)))


class TestArrays:
    """Arrays of pixels are sent without loss."""

    @pytest.mark.parametrize(
        ("shape", "mode"), [((5, 7), "L"), ((5, 7, 1), "L"), ((5, 7, 2), "LA"), ((5, 7, 3), "RGB"), ((5, 7, 4), "RGBA")]
    )
    def test_of_8_bits(self, shape, mode):
        pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        back = decoded(picture_bytes(pixels))
        assert back.mode == mode
        assert np.array_equal(np.asarray(back), pixels.squeeze())

    @pytest.mark.parametrize("dtype", ["<u2", ">u2"])
    def test_of_16_bits(self, dtype):
        pixels = np.random.default_rng(1).integers(0, 65536, (5, 7)).astype(dtype)
        assert np.array_equal(np.asarray(decoded(picture_bytes(pixels))), pixels)

    def test_of_any_layout(self):
        pixels = np.random.default_rng(1).integers(0, 256, (3, 10, 14), np.uint8)
        view = pixels.transpose(1, 2, 0)[::2, ::-2]
        assert np.array_equal(np.asarray(decoded(picture_bytes(view))), view)
        assert np.array_equal(np.asarray(decoded(picture_bytes(np.asfortranarray(view)))), view)

    @pytest.mark.parametrize(
        ("pixels", "sentence"),
        [
            (np.zeros((4, 4, 3), np.float32), "Invalid image dtype float32: it must be uint8"),
            (np.zeros((4, 4), bool), "Invalid image dtype bool"),
            (np.zeros((3, 8, 8), np.uint8), r"Invalid image shape \(3, 8, 8\): it must be \(height, width\)"),
            (np.zeros(8, np.uint8), r"Invalid image shape \(8,\)"),
            (np.zeros((0, 4), np.uint8), "of 4 x 0 pixels cannot be sent"),
        ],
    )
    def test_others_are_rejected(self, pixels, sentence):
        with pytest.raises(lookalike.InvalidArgumentError, match=sentence):
            picture_bytes(pixels)

    def test_batch_of_them_is_searched(self, client):
        red = np.zeros((2, 8, 9, 3), np.uint8)
        red[1, ..., 0] = 255
        assert client.search(images=red, k=1).ids.tolist() == [0, 9]
        assert client.search(images=list(red), k=1).ids.tolist() == [0, 9]
        assert client.search(image=red[1], k=1).ids.tolist() == [9]

    def test_one_for_several_is_rejected(self, client, toy):
        for pixels in (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)):
            with pytest.raises(lookalike.InvalidArgumentError, match="for a single one use image="):
                client.search(images=pixels)
        assert toy.calls == []


@pytest.fixture(params=["path", "memory", "file"])
def opened(request, tmp_path):
    """Open encoded bytes with Pillow: by path, from memory, or from an open file."""
    files = []

    def open_image(data: bytes) -> Image.Image:
        if request.param == "memory":
            return Image.open(io.BytesIO(data))
        path = tmp_path / f"photo{len(files)}"
        path.write_bytes(data)
        if request.param == "path":
            return Image.open(path)
        files.append(path.open("rb"))
        return Image.open(files[-1])

    open_image.kind = request.param
    yield open_image
    for file in files:
        file.close()


def draw_dot(image):
    ImageDraw.Draw(image).point((3, 3), fill="white" if image.getpixel((3, 3)) != (255, 255, 255) else "black")


CHANGES = {
    "putpixel": lambda image: image.putpixel((0, 0), (1, 2, 3)),
    "draw": draw_dot,
    "paste": lambda image: image.paste((9, 8, 7), (0, 0, 5, 5)),
    "thumbnail": lambda image: image.thumbnail((48, 48)),
    # to a size that JPEG can decode to directly: nothing has been decoded yet
    "draft": lambda image: image.draft("RGB", (48, 32)) or image.thumbnail((48, 32)),
    "alpha": lambda image: image.putalpha(128),
    "frombytes": lambda image: (image.load(), image.frombytes(bytes(96 * 64 * 3))),
    "pixels": lambda image: image.load().__setitem__((1, 1), (5, 6, 7)),
    "transposed": lambda image: ImageOps.exif_transpose(image, in_place=True),
    "orientation": lambda image: image.getexif().__setitem__(0x0112, 3),
}


class TestPillowImages:
    """An image that is unchanged since it was opened is sent as its file."""

    @pytest.mark.parametrize("form", FORMATS)
    def test_opened_image_is_sent_as_its_file(self, photo, opened, form):
        data = encoded(photo, form)
        with opened(data) as image:
            assert picture_bytes(image) == data
            image.load()
            assert image.tobytes() == decoded(data).tobytes(), "it can still be decoded"

    @pytest.mark.parametrize("form", FORMATS)
    def test_decoded_image_is_sent_as_its_existing_file(self, photo, opened, form):
        data = encoded(photo, form)
        with opened(data) as image:
            image.load()
            sent = picture_bytes(image)
        if opened.kind == "path":
            assert sent == data
        else:
            assert sent == data or decoded(sent).tobytes() == decoded(data).tobytes()

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("loaded", [False, True])
    def test_changed_image_is_never_sent_as_its_file(self, photo, opened, change, loaded):
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encoded(photo, "JPEG", exif=exif)
        with opened(data) as image:
            if loaded:
                image.load()
            CHANGES[change](image)
            expected = ImageOps.exif_transpose(image)
            sent = picture_bytes(image)
        if change == "draft" and loaded:
            return  # too late for a draft; another test covers thumbnails
        assert sent != data
        assert ImageOps.exif_transpose(decoded(sent)).tobytes() == expected.tobytes()
        assert ImageOps.exif_transpose(decoded(sent)).size == expected.size

    @pytest.mark.parametrize(
        "made",
        [
            lambda image: image.crop((0, 0, 50, 40)),
            lambda image: image.convert("L"),
            lambda image: image.rotate(180),
            lambda image: image.resize((20, 20)),
            lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            lambda image: ImageOps.invert(image),
            lambda image: image.copy(),
        ],
    )
    def test_image_made_of_another_is_encoded_itself(self, photo, opened, made):
        data = encoded(photo)
        with opened(data) as image:
            other = made(image)
        assert decoded(picture_bytes(other)).tobytes() == other.tobytes()

    def test_later_frame_is_not_the_file(self, photo, opened):
        data = encoded(photo, "TIFF", save_all=True, append_images=[ImageOps.invert(photo)])
        with opened(data) as image:
            assert picture_bytes(image) == data
            image.seek(1)
            assert decoded(picture_bytes(image)).tobytes() == ImageOps.invert(photo).tobytes()
            image.seek(0)
            assert decoded(picture_bytes(image)).tobytes() == photo.tobytes()

    def test_changed_palette_is_encoded(self, opened):
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 255, 0, 0])
        data = encoded(image, "PNG")
        with opened(data) as image:
            assert picture_bytes(image) == data
            image.putpalette([0, 0, 0, 0, 0, 255])
            sent = picture_bytes(image)
        assert decoded(sent).convert("RGB").getpixel((0, 0)) == (0, 0, 255)

    def test_changed_transparent_color_is_encoded(self, opened):
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 255, 0, 0])
        data = encoded(image, "PNG", transparency=0)
        with opened(data) as image:
            assert picture_bytes(image) == data
            image.info["transparency"] = 1
            assert picture_bytes(image) != data

    def test_image_of_replaced_file_is_encoded(self, photo, tmp_path):
        path = tmp_path / "photo.png"
        path.write_bytes(encoded(photo, "PNG"))
        with Image.open(path) as image:
            image.load()
            path.write_bytes(encoded(ImageOps.invert(photo), "PNG"))
            assert decoded(picture_bytes(image)).tobytes() == photo.tobytes()
            path.unlink()
            assert decoded(picture_bytes(image)).tobytes() == photo.tobytes()

    def test_unsupported_format_is_encoded(self, photo, opened):
        with opened(encoded(photo, "PPM")) as image:
            sent = picture_bytes(image)
        assert sent.startswith(b"\x89PNG")
        assert decoded(sent).tobytes() == photo.tobytes()

    def test_closed_image_is_rejected(self, photo, tmp_path):
        path = tmp_path / "photo.png"
        path.write_bytes(encoded(photo, "PNG"))
        with Image.open(path) as image:
            pass
        with pytest.raises(lookalike.InvalidArgumentError, match="cannot be encoded"):
            picture_bytes(image)

    def test_file_is_much_smaller_than_what_was_sent_before(self):
        smooth = Image.effect_noise((1200, 900), 40).convert("RGB").resize((2400, 1800))
        data = encoded(smooth, quality=90)
        with Image.open(io.BytesIO(data)) as image:
            assert picture_bytes(image) == data
            assert len(picture_bytes(image.copy())) > 3 * len(data)


class TestRows:
    """With errors="rows", an image that cannot be sent fails only its row."""

    def test_others_are_answered(self, client, toy, tmp_path, photo):
        red = Image.new("RGB", (8, 8), (255, 0, 0))
        bad = [tmp_path / "gone.jpg", io.BytesIO(), np.zeros((4, 4), np.float32)]
        many = client.search(images=[red, *bad, red], k=2, errors="rows")
        assert many.counts.tolist() == [2, 0, 0, 0, 2]
        assert many.ids.tolist() == [9, 8, 9, 8]
        assert list(many.errors) == [1, 2, 3]
        assert many.errors[1].startswith("Image 1: There is no image file")
        assert many.errors[2].endswith("is empty: it has 0 bytes.")
        assert many[1].error == many.errors[1]
        assert many[0].error is None
        assert len(many[3]) == 0
        assert repr(many) == "<NeighborsBatch of 5 queries, 4 neighbors, 3 failed>"
        assert "There is no image file" in repr(many[1])
        home = client.clusters(images=[red, bad[0]], members=1, errors="rows")
        assert home.clusters.tolist() == [[1], [-1]]
        assert list(home.errors) == [1]
        assert home[1].error == home.errors[1]
        assert repr(home).endswith(", 1 failed>")

    def test_image_that_the_server_cannot_read_fails_its_row(self, client, toy, photo):
        many = client.search(images=[b"no picture", encoded(photo)], k=1, errors="rows")
        assert many.errors == {0: "Image 0 cannot be decoded."}
        assert many.counts.tolist() == [0, 1]
        assert toy.requests[-1].row_errors

    def test_otherwise_the_error_names_the_row(self, client, toy, photo):
        with pytest.raises(lookalike.InvalidArgumentError, match=r"Image 1: There is no image file 'gone\.jpg'"):
            client.search(images=[photo, "gone.jpg"])
        assert toy.calls == []

    @pytest.mark.parametrize("ask", [{"image": b"x"}, {"key": "a"}, {"vector": np.ones(2)}, {"id": 1}])
    def test_errors_by_row_need_a_batch(self, client, ask):
        with pytest.raises(lookalike.InvalidArgumentError, match="is about the rows of a batch"):
            client.search(**ask, errors="rows")

    def test_other_queries_are_left_to_the_server(self, client, toy):
        for ask in ({"keys": ["dogs/01.jpg"]}, {"ids": [1]}, {"vectors": np.eye(2)}):
            many = client.search(**ask, k=1, errors="rows")
            assert toy.requests[-1].row_errors
            assert many.errors == {}
        asked = len(toy.calls)
        many = client.search(vectors=np.eye(2), k=1)
        assert not toy.requests[-1].row_errors
        assert len(toy.calls) == asked + 1

    def test_another_word_is_rejected(self, client):
        with pytest.raises(lookalike.InvalidArgumentError, match="errors='skip' must be 'raise' or 'rows'"):
            client.clusters(images=[b"x"], errors="skip")

    def test_error_for_a_row_out_of_range_is_a_protocol_error(self, client, toy, photo):
        toy.change = lambda method, reply: reply.errors.add(row=7, message="odd")
        with pytest.raises(lookalike.ProtocolError, match="an error names a row out of range"):
            client.search(images=[photo], errors="rows")
