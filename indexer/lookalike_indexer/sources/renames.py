"""Detection of renamed files: a new key with the bytes of an image whose key is missing."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.uris import absolute
from lookalike_indexer.sources.digests import EmbeddedImage, SourceDigests
from lookalike_indexer.sources.fetch import is_contained


@dataclass(frozen=True)
class Renames:
    """`found` maps the number of each renamed image to its row of the source; `new` are the remaining rows."""

    found: dict[int, dict[str, Any]]
    new: list[pa.Table]


def find_renames(
    source: SourceEntry,
    gone: Iterable[tuple[int, EmbeddedImage | None]],
    new: Sequence[pa.Table],
    digests: SourceDigests,
) -> Renames:
    """Match missing images with new rows of the source by the SHA-256 of their bytes.

    If several are equal, the first missing one matches the first new one. Only files with the length of a missing image
    are read.
    """
    waiting: dict[str, deque[int]] = defaultdict(deque)
    lengths = set()
    for number, image in gone:
        if image and image.sha256:
            waiting[image.sha256].append(number)
            lengths.add(image.bytes)
    found: dict[int, dict[str, Any]] = {}
    remaining = []
    for table in new:
        keep = np.ones(len(table), np.bool_)
        for at, row in enumerate(table.to_pylist() if waiting else []):
            uri = absolute(source, row["uri"])
            if not is_contained(uri) and row["bytes"] not in lengths:
                continue
            numbers = waiting.get(digests.digest(uri) or "")
            if numbers:
                found[numbers.popleft()] = row
                keep[at] = False
        remaining.append(table.filter(pa.array(keep)))
    return Renames(found, remaining)
