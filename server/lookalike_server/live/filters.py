"""Filters of a view: the generation's matches, corrected for rows that differ."""

from __future__ import annotations

import hashlib

import numpy as np

from lookalike.v1 import filter_pb2
from lookalike_indexer.arrays import Bools
from lookalike_indexer.filters.errors import FilterError
from lookalike_indexer.filters.evaluate import matching
from lookalike_indexer.filters.meaning import resolve_names
from lookalike_indexer.filters.tree import canonical
from lookalike_server.filters.match_cache import MatchCache, Matches
from lookalike_server.filters.matching import FilterMatches, Filters
from lookalike_server.filters.reading import read, refused
from lookalike_server.live.overlay import LiveFilterColumns, Overlay


class LiveFilters(Filters):
    """`Filters` for the rows of a view."""

    def __init__(
        self, base: Filters, columns: LiveFilterColumns, overlay: Overlay, alive: Bools, most_bytes: int
    ) -> None:
        self._base, self._overlay, self._alive = base, overlay, alive
        self.columns = columns
        self._kept = MatchCache(most_bytes)

    @property
    def nbytes(self) -> tuple[int, int]:
        columns, kept = self._base.nbytes
        return columns, kept + self._kept.nbytes

    def find(self, message: filter_pb2.Filter) -> FilterMatches:
        stored = self._base.find(message).matches
        try:
            meaning = canonical(resolve_names(canonical(read(message)), self._overlay))
        except FilterError as error:
            raise refused(error) from error
        key = hashlib.blake2b(repr(meaning).encode(errors="surrogatepass"), digest_size=16).hexdigest()
        kept = self._kept.by_meaning(key, message.SerializeToString())
        if kept is not None:
            return FilterMatches(kept, cached=True)
        images = np.zeros(len(self._alive), np.bool_)
        images[: len(stored.images)] = stored.images
        if len(self._overlay):
            images[self._overlay.rows] = matching(meaning, self._overlay)
        images &= self._alive
        images.setflags(write=False)
        matches = Matches(images, stored.text, key)
        self._kept.put(matches)
        return FilterMatches(matches, cached=False)

    def text(self, message: filter_pb2.Filter) -> str:
        return self._base.text(message)
