"""Images of a generation that match a filter. Columns are read once, and results are cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from lookalike.v1 import filter_pb2
from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.filters.columns import Column
from lookalike_indexer.filters.errors import FilterError
from lookalike_indexer.filters.evaluate import matching
from lookalike_indexer.filters.meaning import resolve_names
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.filters.text import parse
from lookalike_indexer.filters.tree import canonical
from lookalike_indexer.filters.write_text import as_text
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.filters.match_cache import MatchCache, Matches
from lookalike_server.filters.reading import read, refused

# Values of a list, and characters of a filter, that a plan shows.
_VALUES = 8
_CHARACTERS = 2_000


class FilterMatches(NamedTuple):
    """Matches of a filter, and whether they were cached."""

    matches: Matches
    cached: bool


class Filters:
    """Filters of one generation. Methods may take long. Thread-safe."""

    def __init__(
        self,
        reader: CollectionReader,
        ids: Int64,
        held: Mapping[str, Callable[[], Column]],
        most_bytes: int,
    ) -> None:
        """`ids` are those of all images; `held` are columns in memory; the cache of matches has up to `most_bytes`."""
        self.columns = FilterColumns(reader, ids, held)
        self._kept = MatchCache(most_bytes)

    @property
    def nbytes(self) -> tuple[int, int]:
        """Bytes of memory of the columns, and of the matches."""
        return self.columns.nbytes, self._kept.nbytes

    def find_cached(self, message: filter_pb2.Filter) -> FilterMatches | None:
        """Return cached matches of a filter, or None. Fast."""
        words = message.SerializeToString()
        kept = self._kept.by_message(words)
        return None if kept is None else FilterMatches(kept, cached=True)

    def find(self, message: filter_pb2.Filter) -> FilterMatches:
        """Return the images that match. Raises ArgumentError, NotFoundError, and NotBuiltError; see filters.meaning."""
        try:
            tree = canonical(read(message))
            meaning = canonical(resolve_names(tree, self.columns))
        except FilterError as error:
            raise refused(error) from error
        key = hashlib.blake2b(repr(meaning).encode(errors="surrogatepass"), digest_size=16).hexdigest()
        kept = self._kept.by_meaning(key, message.SerializeToString())
        if kept is not None:
            return FilterMatches(kept, cached=True)
        text = as_text(tree, _VALUES)
        shown = text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."
        matches = Matches(matching(meaning, self.columns), shown, key)
        matches.images.setflags(write=False)
        self._kept.put(matches)
        return FilterMatches(matches, cached=False)

    def text(self, message: filter_pb2.Filter) -> str:
        """Return a filter as text, for another process. Raises as `find` does, and ArgumentError if it is too long."""
        try:
            tree = canonical(read(message))
            resolve_names(tree, self.columns)
            words = as_text(tree)
            parse(words)
        except FilterError as error:
            raise refused(error) from error
        return words

    def mask(self, matches: Matches, space: str, make: Callable[[Bools], RowMask]) -> RowMask:
        """Return the mask of a space, which `make` creates once from the images."""
        mask = matches.masks.get(space)
        if mask is None:
            mask = matches.masks[space] = make(matches.images)
            self._kept.put(matches)
        return mask

    def update_size(self, matches: Matches) -> None:
        """Update the cached size of matches after searches derived data from their masks."""
        self._kept.put(matches)
