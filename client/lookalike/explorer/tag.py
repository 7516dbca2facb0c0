"""A name for the state of a collection."""

from __future__ import annotations

import hashlib

from lookalike import Collection


def tag_of(collection: Collection) -> str:
    """A name for a collection in the state it is in, for addresses that may be cached. It tells collections apart."""
    spaces = ",".join(space.fingerprint for space in collection.spaces)
    state = f"{collection.name}\n{collection.generation}\n{collection.images}\n{spaces}"
    return hashlib.sha256(state.encode()).hexdigest()[:12]
