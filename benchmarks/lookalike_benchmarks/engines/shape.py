"""The shape that every engine has here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lookalike_indexer.arrays import Float32, Int64

# Whole numbers about the vectors, (n,) each, by name.
Columns = Mapping[str, Int64]


@dataclass(frozen=True)
class Where:
    """A filter: `column` is less than `below` or, where `among` has some, one of them."""

    column: str
    below: int = 0
    among: tuple[int, ...] = ()

    def __str__(self) -> str:
        """The filter in SQL, with as few spaces as there must be."""
        listed = ",".join(map(str, self.among))
        return f"{self.column} in ({listed})" if self.among else f"{self.column} < {self.below}"


class FilteringEngine(Protocol):
    """An engine that also takes filters. The columns that a filter names have an index, where the engine has such."""

    def build_with(self, vectors: Float32, columns: Columns, folder: Path) -> None:
        """As Engine.build; `columns` may be named by filters."""

    def search_where(self, queries: Float32, k: int, effort: int, where: Sequence[Where]) -> Int64:
        """As Engine.search; query i among what `where[i]` allows."""
        ...


class Engine(Protocol):
    """An index of vectors of unit length, by cosine. `efforts` are how hard it can look, the cheapest first."""

    @property
    def efforts(self) -> Sequence[int]: ...

    def build(self, vectors: Float32, folder: Path) -> None:
        """Store and index vectors (n, dim), of unit length; their ids are their positions."""

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        """The ids of the k nearest of each query (n, dim), nearest first: (n, k), -1 where fewer were found."""
        ...

    def about(self) -> dict[str, Any]:
        """What rows say of it: version and parameters."""
        ...

    def close(self) -> None:
        """End what it started."""


# Of HNSW graphs: what most engines take when they are told nothing else.
GRAPH_LINKS = 16
GRAPH_BUILD_EFFORT = 128
GRAPH_EFFORTS = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024)


def filled(rows: list[list[int]], k: int) -> Int64:
    """Lines of ids as an array (n, k); what is missing is -1."""
    ids = np.full((len(rows), k), -1, np.int64)
    for line, row in enumerate(rows):
        ids[line, : len(row)] = row
    return ids
