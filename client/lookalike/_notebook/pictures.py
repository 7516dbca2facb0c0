"""Thumbnails for results that are shown: fetched when a notebook draws them, never before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lookalike._errors import LookalikeError

# The keys and the thumbnails of stored images by id, as the collection has them now.
Source: TypeAlias = Callable[[Sequence[int]], tuple[Sequence[str], Sequence[bytes | None]]]

# A repr must not hold up a notebook for longer.
TIMEOUT_S = 10.0
# Pixels of the longer side: a notebook keeps what it shows.
SIZE = 112
MOST_PICTURES = 60


@dataclass(frozen=True)
class Gallery:
    """Thumbnails by image id; `problem` says why there are none, "" where nothing is wrong."""

    jpegs: Mapping[int, bytes]
    problem: str = ""


class Illustrated:
    """A result about stored images that can ask for their thumbnails.

    Copies and pickles leave that out: it belongs to the client, which may hold a token.
    """

    _source: Source | None = None

    def _illustrate(self, source: Source | None) -> None:
        object.__setattr__(self, "_source", source)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_source"}

    def _gallery(self, ids: Sequence[int], keys: Sequence[str]) -> Gallery:
        """The thumbnails of the first `MOST_PICTURES` of these images.

        An image whose key is another one now has none: the collection was made again.
        """
        if self._source is None or not len(ids):
            return Gallery({})
        expected = dict(list(zip(map(int, ids), keys, strict=True))[:MOST_PICTURES])
        try:
            found, jpegs = self._source(list(expected))
        except LookalikeError as error:
            return Gallery({}, f"No pictures: {error}")
        of_ids = zip(expected.items(), found, jpegs, strict=True)
        return Gallery({image: jpeg for (image, key), now, jpeg in of_ids if jpeg is not None and key == now})


def illustrate(result: object, source: Source) -> None:
    """Let a result, or the rows of a page, show thumbnails from a source."""
    shown = getattr(result, "items", None) if not isinstance(result, Illustrated) else result
    if isinstance(shown, Illustrated):
        shown._illustrate(source)
