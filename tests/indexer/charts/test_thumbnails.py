from __future__ import annotations

import numpy as np
from PIL import Image

from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.limits import ImageLimits


class Stored:
    """A view of images with only ids and files."""

    def __init__(self, *uris: object) -> None:
        self.ids = np.arange(len(uris)) * 10
        self._uris = [str(uri) for uri in uris]

    def uris(self, rows):
        return [self._uris[row] for row in rows]

    def rows_of_ids(self, ids):
        return np.searchsorted(self.ids, ids)


def test_images_are_read_from_the_source(tmp_path):
    Image.new("RGB", (100, 50), (0, 200, 0)).save(tmp_path / "green.png")
    Image.new("RGB", (30, 60), (200, 0, 0)).save(tmp_path / "red.png")
    thumbnails = Thumbnails(Stored(tmp_path / "green.png", tmp_path / "red.png"), 40, ImageLimits())
    green, red = thumbnails.pictures([0, 1])
    assert (green.size, red.size) == ((40, 20), (20, 40))
    assert thumbnails.pictures_of_ids([10])[0].getpixel((5, 5))[0] > 190


def test_missing_broken_or_too_large_images_have_no_thumbnail(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    Image.new("RGB", (100, 100)).save(tmp_path / "large.png")
    view = Stored(tmp_path / "gone.jpg", tmp_path / "broken.jpg", tmp_path / "large.png", "")
    assert Thumbnails(view, limits=ImageLimits(max_pixels=9999)).pictures(range(4)) == [None] * 4


def test_image_is_read_once(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    thumbnails = Thumbnails(Stored(tmp_path / "a.png"), limits=ImageLimits())
    first = thumbnails.jpeg(0)
    (tmp_path / "a.png").unlink()
    assert thumbnails.jpeg(0) == first is not None
