"""Images of one space: ids and texts of its rows, and rows of filtered images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Int64
from lookalike_server.columns.array_file import Arrays, bools, numbers
from lookalike_server.columns.columns import Columns
from lookalike_server.columns.row_mask import Remaining, RowMask


class Texts(NamedTuple):
    """Texts of its neighbors that a call wants."""

    keys: bool = False
    labels: bool = False
    uris: bool = False


class ImageTexts(NamedTuple):
    """Texts of some images, in order. A list is empty if it is not wanted."""

    keys: list[str]
    labels: list[str]
    uris: list[str]


class SpaceImages:
    """Images of a space: row i, numbered as in `Rows`, is the image `ids[i]`. Deleted ones have no texts or values."""

    def __init__(self, columns: Columns, ids: Int64, live: Remaining | None = None) -> None:
        """`live` marks the images that are not deleted, which `columns` contain; None means all."""
        self._columns = columns
        self.ids = ids
        self._live = live
        # Rows of `Columns`, by row of the space; None if both are the same.
        if live is not None:
            self._rows: Int64 | None = np.zeros(len(ids), np.int64)
            self._rows[live.rows] = columns.rows_of_ids(ids[live.rows])
        else:
            self._rows = None if np.array_equal(columns.ids, ids) else columns.rows_of_ids(ids)

    @classmethod
    def of_arrays(cls, columns: Columns, arrays: Arrays) -> SpaceImages:
        """Create the images of a space from `arrays`, for example of a mapped file."""
        images = cls.__new__(cls)
        images._columns = columns
        images.ids = arrays["ids"].to_numpy()
        images._live = Remaining(bools(arrays["live"])) if len(arrays["live"]) else None
        images._rows = arrays["rows"].to_numpy() if len(arrays["rows"]) else None
        return images

    @property
    def arrays(self) -> dict[str, pa.Array]:
        """Data of its rows, as arrays; an empty array for None."""
        none = np.empty(0, np.int64)
        return {
            "ids": numbers(self.ids),
            "live": numbers(none.astype(np.bool_) if self._live is None else self._live.bools),
            "rows": numbers(none if self._rows is None else self._rows),
        }

    @property
    def remaining(self) -> Remaining | None:
        """Rows of images that are not deleted; None if none is deleted."""
        return self._live

    @property
    def image_rows_held(self) -> Int64 | None:
        """Rows of `Columns` for all rows of the space; None if they are the same."""
        return self._rows

    def image_rows(self, rows: Int64) -> Int64:
        """Return the rows of `Columns` for some rows of the space."""
        return rows if self._rows is None else self._rows[rows]

    def of_images(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return values of images (images,), in the order of `Columns`, for the rows of the space.

        May not be a copy.
        """
        return values if self._rows is None else values[self._rows]

    def texts(self, rows: Int64, wanted: Texts) -> ImageTexts:
        """Return the wanted texts of some rows (n,)."""
        if not any(wanted):
            return ImageTexts([], [], [])
        columns = self._columns
        rows = self.image_rows(rows)
        return ImageTexts(
            columns.keys(rows) if wanted.keys else [],
            columns.labels(rows) if wanted.labels else [],
            columns.uris(rows) if wanted.uris else [],
        )

    def mask(self, images: Bools) -> RowMask:
        """Return the mask of the allowed `images` (images,), which are in the order of `Columns`."""
        found = self.of_images(images)
        return RowMask(found if self._live is None else found & self._live.bools)
