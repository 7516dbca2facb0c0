"""Choice of the index of each space."""

from __future__ import annotations

from collections.abc import Sequence

from lookalike_indexer.collection.current import default_index
from lookalike_indexer.collection.manifest import IndexEntry, Manifest
from lookalike_indexer.errors import NotFoundError


def chosen_indexes(manifest: Manifest, wanted: Sequence[str] = ()) -> dict[str, IndexEntry]:
    """Return the index of each space that has one, by the space's name.

    `wanted` are names from the user: "NAME" means the index of that name in each space that has
    one, "SPACE/NAME" that of one space; later names win. The other spaces get their current index.
    Raises NotFoundError if no index has such a name.
    """
    chosen = {}
    for space in manifest.spaces:
        key = default_index(manifest, space)
        if key is not None:
            chosen[space] = manifest.indexes[key]
    for name in wanted:
        meant = [entry for key, entry in manifest.indexes.items() if name in (key, entry.name)]
        if not meant:
            there = ", ".join(sorted(manifest.indexes)) or "none"
            raise NotFoundError(f"--index {name}: the collection has no index of that name; it has: {there}.")
        chosen |= {entry.space: entry for entry in meant}
    return chosen
