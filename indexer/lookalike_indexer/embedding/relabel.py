"""Images whose key, label or URI the listing has changed: their table follows, and nothing is embedded."""

from __future__ import annotations

import pyarrow.compute as pc

from lookalike_indexer.collection import layout, schema
from lookalike_indexer.collection.parts import read_part, with_columns, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage

_FOLLOW = ["key", "label", "uri"]


def relabel(storage: Storage, images: str, listing: str) -> str:
    """Write a part of the images with what its listing says now; returns its path, the same one if nothing differs."""
    before = with_columns(read_part(storage, images), schema.IMAGES.names)
    listed = read_part(storage, listing, ["id", *_FOLLOW])
    rows = listed.take(pc.index_in(before.column("id"), listed.column("id")).combine_chunks())
    after = before
    for name in _FOLLOW:
        after = after.set_column(after.column_names.index(name), schema.IMAGES.field(name), rows.column(name))
    if after.equals(before):
        return images
    revised = layout.revised(images, digest_of([images, listing]))
    write_part(storage, revised, after)
    return revised
