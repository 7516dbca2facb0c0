"""Finders of the nearest neighbors of a group's images, and the comparison with all images.

All give exact distances between the stored embeddings, each pair separately in float64 and rounded to float32, so that
they do not depend on blocks or threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.graph.groups import Group
from lookalike_indexer.graph.lists import Neighbors, nearest
from lookalike_indexer.graph.rescoring import watched
from lookalike_indexer.progress import Bar
from lookalike_indexer.vectors.exact import exact_search


class Finder(Protocol):
    """Finds the k nearest neighbors of a group's images in the whole space."""

    def __call__(self, group: Group, k: int, bar: Bar) -> Neighbors:
        """Find the neighbors; advance the bar by the images that the group is compared with."""
        ...


class Comparison:
    """Compares with every image of some parts: exact."""

    def __init__(self, reader: CollectionReader, paths: Sequence[str], metric: Metric) -> None:
        self._reader, self._paths, self._metric = reader, paths, metric

    def __call__(self, group: Group, k: int, bar: Bar) -> Neighbors:
        # By id instead of row, so that equal distances are ordered by id; one more for the image itself.
        ids, distances = exact_search(watched(self._blocks(), bar), group.vectors, k + 1, self._metric)
        return nearest(ids, distances, group.ids, k)

    def _blocks(self) -> Iterator[tuple[Int64, Float32]]:
        yield from self._reader.living_ahead(self._paths)
