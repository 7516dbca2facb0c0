"""URIs of a whole table at once: from relative to the source's root, as they are stored, to absolute."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.uris import root


def absolute_column(source: SourceEntry, uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """The absolute URI of each row; an empty one, which nothing can be read from, stays empty."""
    below = pc.binary_join_element_wise(root(source).rstrip("/"), uris, "/")
    stays = pc.or_(pc.starts_with(uris, "/"), pc.equal(uris, ""))
    return pc.if_else(stays, uris, below)
