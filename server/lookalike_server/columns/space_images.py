"""The images of one space: from the rows of its index to ids and texts, and from filtered images to rows."""

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
    """Which texts of its neighbors a call wants."""

    keys: bool = False
    labels: bool = False
    uris: bool = False


class ImageTexts(NamedTuple):
    """Texts of some images, in their order; an empty list where nobody wants them."""

    keys: list[str]
    labels: list[str]
    uris: list[str]


class SpaceImages:
    """Row i of a space, as `Rows` counts them, is the image `ids[i]`; that of a deleted one has no texts or values."""

    def __init__(self, columns: Columns, ids: Int64, live: Remaining | None = None) -> None:
        """`live` tells which images are not deleted; None: all of them. `columns` have those."""
        self._columns = columns
        self.ids = ids
        self._live = live
        # The images' rows by those of the space; None where every image is in it.
        if live is not None:
            self._rows: Int64 | None = np.zeros(len(ids), np.int64)
            self._rows[live.rows] = columns.rows_of_ids(ids[live.rows])
        else:
            self._rows = None if np.array_equal(columns.ids, ids) else columns.rows_of_ids(ids)

    @classmethod
    def of_arrays(cls, columns: Columns, arrays: Arrays) -> SpaceImages:
        """The images of a space of what `arrays` gave, such as of a file that is mapped."""
        images = cls.__new__(cls)
        images._columns = columns
        images.ids = arrays["ids"].to_numpy()
        images._live = Remaining(bools(arrays["live"])) if len(arrays["live"]) else None
        images._rows = arrays["rows"].to_numpy() if len(arrays["rows"]) else None
        return images

    @property
    def arrays(self) -> dict[str, pa.Array]:
        """What is known of its rows; an empty array for what is None."""
        none = np.empty(0, np.int64)
        return {
            "ids": numbers(self.ids),
            "live": numbers(none.astype(np.bool_) if self._live is None else self._live.bools),
            "rows": numbers(none if self._rows is None else self._rows),
        }

    @property
    def remaining(self) -> Remaining | None:
        """The rows whose images were not deleted; None where all are there."""
        return self._live

    @property
    def image_rows_held(self) -> Int64 | None:
        """The rows of `Columns` of all rows of the space; None where they are the same."""
        return self._rows

    def image_rows(self, rows: Int64) -> Int64:
        """The rows of `Columns` of some rows of the space."""
        return rows if self._rows is None else self._rows[rows]

    def of_images(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What is known of each image of `Columns` (images,), for the rows of the space; not always a copy."""
        return values if self._rows is None else values[self._rows]

    def texts(self, rows: Int64, wanted: Texts) -> ImageTexts:
        """The texts of some rows (n,) that are wanted."""
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
        """The rows of the images that are true in `images` (images,), which are those of `Columns`."""
        found = self.of_images(images)
        return RowMask(found if self._live is None else found & self._live.bools)
