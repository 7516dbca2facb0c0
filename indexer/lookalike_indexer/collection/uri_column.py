"""Conversion of a whole column of URIs from relative to the source's root, as stored, to absolute."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.collection import uploaded_images
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.uris import root


def absolute_column(source: SourceEntry, uris: pa.ChunkedArray, keys: pa.ChunkedArray, kept: str) -> pa.ChunkedArray:
    """Return the absolute URI of each row; an empty one, of an unreadable image, stays empty.

    `keys` are those of the same rows; only a Parquet source needs them, see `uris.stored`. `kept` is the folder of
    uploaded images, see `uploaded_images.folder`.
    """
    own = uploaded_images.is_uploaded_column(uris)
    if not pc.any(own).as_py():
        return _of_source(source, uris, keys)
    return pc.if_else(own, uploaded_images.absolute_column(uris, kept), _of_source(source, uris, keys))


def _of_source(source: SourceEntry, uris: pa.ChunkedArray, keys: pa.ChunkedArray) -> pa.ChunkedArray:
    if source.kind == "parquet":
        # All absolute URIs of a Parquet source are of format 1.
        files = pc.replace_substring_regex(uris, "#[0-9]*$", "#")
        by_key = pc.binary_join_element_wise(files, keys, "")
        return pc.if_else(pc.starts_with(uris, "/"), by_key, _below_root(source, uris))
    return _below_root(source, uris)


def _below_root(source: SourceEntry, uris: pa.ChunkedArray) -> pa.ChunkedArray:
    below = pc.binary_join_element_wise(root(source).rstrip("/"), uris, "/")
    stays = pc.or_(pc.starts_with(uris, "/"), pc.equal(uris, ""))
    return pc.if_else(stays, uris, below)
