"""How a graph is to be made."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.collection.spec import Metric


@dataclass(frozen=True)
class GraphSettings:
    """`space` "" means the default one, `metric` None that of the index, or cosine; `index` "" the current one."""

    space: str = ""
    k: int = 16
    exact: bool = False
    metric: Metric | None = None
    index: str = ""
