"""Settings of a graph."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.collection.spec import Metric


@dataclass(frozen=True)
class GraphSettings:
    """Settings of a graph. `space` "" means the default, `metric` None that of the index or cosine, `index` "" the
    current one.
    """

    space: str = ""
    k: int = 16
    exact: bool = False
    metric: Metric | None = None
    index: str = ""
