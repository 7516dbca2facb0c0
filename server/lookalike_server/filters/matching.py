"""The images that match a filter, of one generation: read once, evaluated once, and kept."""

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
from lookalike_indexer.filters.meaning import meant
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.filters.text import parse
from lookalike_indexer.filters.tree import canonical
from lookalike_indexer.filters.write_text import as_text
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.filters.match_cache import MatchCache, Matches
from lookalike_server.filters.reading import read, refused

# A plan tells so many values of a list, and so many characters of a filter.
_VALUES = 8
_CHARACTERS = 2_000


class FilterMatches(NamedTuple):
    """The matches of a filter, and whether they were known from an earlier call."""

    matches: Matches
    cached: bool


class Filters:
    """The filters of one generation. Methods may take long, and be called from any thread."""

    def __init__(
        self,
        reader: CollectionReader,
        ids: Int64,
        held: Mapping[str, Callable[[], Column]],
        most_bytes: int,
    ) -> None:
        """`ids` are those of all images, `held` columns that are in memory; matches are kept up to `most_bytes`."""
        self.columns = FilterColumns(reader, ids, held)
        self._kept = MatchCache(most_bytes)

    @property
    def nbytes(self) -> tuple[int, int]:
        """The bytes of memory that columns take, and that matches do."""
        return self.columns.nbytes, self._kept.nbytes

    def known(self, message: filter_pb2.Filter) -> FilterMatches | None:
        """The matches of a filter that came before, in a moment; None when they have to be found."""
        words = message.SerializeToString()
        kept = self._kept.by_words(words)
        return None if kept is None else FilterMatches(kept, cached=True)

    def find(self, message: filter_pb2.Filter) -> FilterMatches:
        """The images that match. ArgumentError, NotFoundError, NotBuiltError: see filters.meaning."""
        try:
            tree = canonical(read(message))
            meaning = canonical(meant(tree, self.columns))
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
        """A filter as text, for who reads the columns anew. Errors as `find`; ArgumentError: the text is too long."""
        try:
            tree = canonical(read(message))
            meant(tree, self.columns)
            words = as_text(tree)
            parse(words)
        except FilterError as error:
            raise refused(error) from error
        return words

    def mask(self, matches: Matches, space: str, make: Callable[[Bools], RowMask]) -> RowMask:
        """The mask of a space, made once by `make` from the images."""
        mask = matches.masks.get(space)
        if mask is None:
            mask = matches.masks[space] = make(matches.images)
            self._kept.put(matches)
        return mask

    def keep(self, matches: Matches) -> None:
        """Count what searches have derived from the masks of matches, which grow by it."""
        self._kept.put(matches)
