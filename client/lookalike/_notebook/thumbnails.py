"""Thumbnails of results, fetched only when a notebook shows the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lookalike._errors import LookalikeError

# Returns the current keys and thumbnails of stored images by id.
Source: TypeAlias = Callable[[Sequence[int]], tuple[Sequence[str], Sequence[bytes | None]]]

# Timeout in seconds: a repr must not block a notebook for longer.
TIMEOUT_S = 10.0
# Pixels of the longer side. Small, since a notebook file stores what it shows.
SIZE = 112
MOST_PICTURES = 60


@dataclass(frozen=True)
class Gallery:
    """Thumbnails by image id; `problem` is the reason for missing thumbnails, "" without a problem."""

    jpegs: Mapping[int, bytes]
    problem: str = ""


class Illustrated:
    """A result about stored images that can fetch their thumbnails.

    Copies and pickles leave the source out: it belongs to the client, which may hold a token.
    """

    _source: Source | None = None

    def _illustrate(self, source: Source | None) -> None:
        object.__setattr__(self, "_source", source)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_source"}

    def _gallery(self, ids: Sequence[int], keys: Sequence[str]) -> Gallery:
        """Fetch the thumbnails of the first `MOST_PICTURES` of these images.

        An image whose key has changed gets none: the collection was rebuilt since.
        """
        if self._source is None or not len(ids):
            return Gallery({})
        expected = dict(list(zip(map(int, ids), keys, strict=True))[:MOST_PICTURES])
        try:
            found, jpegs = self._source(list(expected))
        except LookalikeError as error:
            return Gallery({}, f"No images: {error}")
        of_ids = zip(expected.items(), found, jpegs, strict=True)
        return Gallery({image: jpeg for (image, key), now, jpeg in of_ids if jpeg is not None and key == now})


def illustrate(result: object, source: Source) -> None:
    """Let a result, or the rows of a page, fetch thumbnails from `source`."""
    shown = getattr(result, "items", None) if not isinstance(result, Illustrated) else result
    if isinstance(shown, Illustrated):
        shown._illustrate(source)
