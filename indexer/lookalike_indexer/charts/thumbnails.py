"""Thumbnails of stored images, read from the collection's source."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.experiments.view import View
from lookalike_indexer.images.thumbnail import thumbnail
from lookalike_indexer.sources.fetch import fetch

# Enough for one montage and the next, which often shows the same images.
_KEPT = 2048


class Thumbnails:
    """Thumbnails of a view's images, by row; the longer side has `size` pixels. Recent ones are cached as JPEG.

    `wanted` are the rows that were asked for, and `unreadable` those of them whose file cannot be read.
    """

    def __init__(self, view: View, size: int = 160, limits: ImageLimits | None = None) -> None:
        """Create the cache. `limits` None means those of the collection."""
        self._view, self._size, self._limits = view, size, limits or view.reader.manifest.limits
        self.wanted: set[int] = set()
        self.unreadable: set[int] = set()
        self._read = functools.lru_cache(_KEPT)(self._read_uncached)

    def jpeg(self, row: int) -> bytes | None:
        """Return an image's thumbnail as a JPEG file; None if its file is missing, too large, or not an image."""
        return self._read(row)

    def picture(self, row: int) -> Image.Image | None:
        """Return an image's thumbnail as RGB; None as in `jpeg`."""
        data = self._read(row)
        return None if data is None else Image.open(io.BytesIO(data)).convert("RGB")

    def pictures(self, rows: Sequence[int]) -> list[Image.Image | None]:
        """Return the thumbnails of some rows, in the given order."""
        return [self.picture(row) for row in rows]

    def pictures_of_ids(self, ids: Sequence[int]) -> list[Image.Image | None]:
        """Return the thumbnails of images by id; the ids must exist."""
        return self.pictures(self._view.rows_of_ids(np.asarray(ids, np.int64)).tolist())

    def _read_uncached(self, row: int) -> bytes | None:
        self.wanted.add(row)
        (uri,) = self._view.uris(np.array([row]))
        try:
            return thumbnail(fetch(uri, self._limits.max_bytes), self._size, self._limits)
        except DecodeError:
            # The source may have changed since; results still describe the original image.
            self.unreadable.add(row)
            return None
