"""Updates of image keys, labels and URIs that changed in the listing; nothing is embedded."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.collection import layout, schema
from lookalike_indexer.collection.parts import read_part, with_columns, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage

_FOLLOW = ["key", "label", "uri"]


def relabel(storage: Storage, images: str, listing: str) -> str:
    """Write an images part with the present values of its listing; return its path, the same one if nothing differs."""
    before, after = _compared(storage, images, listing)
    if after.equals(before):
        return images
    revised = layout.revised(images, digest_of([images, listing]))
    write_part(storage, revised, after)
    return revised


def relabel_in_place(storage: Storage, images: str, listing: str) -> None:
    """Update an unpublished images part that a killed run left, under its own name."""
    before, after = _compared(storage, images, listing)
    if not after.equals(before):
        write_part(storage, images, after)


def _compared(storage: Storage, images: str, listing: str) -> tuple[pa.Table, pa.Table]:
    """Return a part of the images as it is, and with the values of its listing."""
    before = with_columns(read_part(storage, images), schema.IMAGES.names)
    listed = read_part(storage, listing, ["id", *_FOLLOW])
    rows = listed.take(pc.index_in(before.column("id"), listed.column("id")).combine_chunks())
    after = before
    for name in _FOLLOW:
        after = after.set_column(after.column_names.index(name), schema.IMAGES.field(name), rows.column(name))
    return before, after
