"""Interface of an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lookalike_indexer.arrays import Float32, Int64

# Integer columns about the vectors, (n,) each, by name.
Columns = Mapping[str, Int64]


@dataclass(frozen=True)
class Where:
    """A filter: `column` is less than `below`, or one of `among` if that is not empty."""

    column: str
    below: int = 0
    among: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Return the filter in SQL, without optional spaces."""
        listed = ",".join(map(str, self.among))
        return f"{self.column} in ({listed})" if self.among else f"{self.column} < {self.below}"


class FilteringEngine(Protocol):
    """An engine that also accepts filters. Columns that filters name are indexed if the engine can index them."""

    def build_with(self, vectors: Float32, columns: Columns, folder: Path) -> None:
        """Store and index as Engine.build; filters may name `columns`."""

    def search_where(self, queries: Float32, k: int, effort: int, where: Sequence[Where]) -> Int64:
        """Search as Engine.search; the hits of query i match `where[i]`."""
        ...


class Engine(Protocol):
    """An index of unit vectors by cosine similarity. `efforts` are its search settings, cheapest first."""

    @property
    def efforts(self) -> Sequence[int]: ...

    def build(self, vectors: Float32, folder: Path) -> None:
        """Store and index vectors (n, dim) of unit length; ids are positions."""

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        """Return the ids of the k nearest vectors of each query (n, dim), nearest first: (n, k), padded with -1."""
        ...

    def about(self) -> dict[str, Any]:
        """Return version and parameters for the rows of results."""
        ...

    def close(self) -> None:
        """Stop everything that the engine started."""


# Parameters of HNSW graphs, the defaults of most engines.
GRAPH_LINKS = 16
GRAPH_BUILD_EFFORT = 128
GRAPH_EFFORTS = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024)


def filled(rows: list[list[int]], k: int) -> Int64:
    """Convert lists of ids to an array (n, k), with -1 for missing hits."""
    ids = np.full((len(rows), k), -1, np.int64)
    for line, row in enumerate(rows):
        ids[line, : len(row)] = row
    return ids
