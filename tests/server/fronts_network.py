"""A network for engine processes under test, which import it: the embedding of b"7" is the stored vector 7."""

from __future__ import annotations

import numpy as np
from tests.server.conftest import FakeEmbedder

from lookalike_indexer.collection.reader import CollectionReader


def open_network(reader: CollectionReader, space: str) -> FakeEmbedder:
    """See OpenEmbedder."""
    entry = reader.manifest.spaces[space]
    return FakeEmbedder(reader.vectors(space, np.arange(entry.rows)), entry.fingerprint)
