"""A small collection for the targets to begin with, written as the tests of the server write theirs."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
from tests.server import conftest as server

from lookalike_indexer.collection import generations


@functools.cache
def toy() -> Path:
    """The root of a collection of 40 images with an index and a clustering."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-toy-"))
    made = server.Toy(folder / "toys", server.random_vectors(40, 8), np.arange(40, dtype=np.int64) * 2 + 5)
    draft = server._with_images(made, made.storage, 0, 20, folder / "pictures")
    draft = server._with_index(made, made.storage, draft, "IVF4,Flat", 2, 1)
    draft = server._with_clustering(made, made.storage, draft, 3, 1)
    generations.publish(made.storage, draft)
    return made.root
