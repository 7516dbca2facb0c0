"""Tag of a collection's state for cacheable URLs."""

from __future__ import annotations

import hashlib

from lookalike import Collection


def tag_of(collection: Collection) -> str:
    """Return a tag that identifies a collection in its current state."""
    spaces = ",".join(space.fingerprint for space in collection.spaces)
    state = f"{collection.name}\n{collection.generation}\n{collection.images}\n{spaces}"
    return hashlib.sha256(state.encode()).hexdigest()[:12]
