"""Source for any other index, such as one on a GPU."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing.params import search_parameters
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.sources import by_mask, costs_of


class OtherSource:
    """Any other index, such as one on a GPU."""

    def __init__(self, index: Any, metric: Metric) -> None:
        self._index = index
        self._metric: Metric = metric
        self.ntotal = int(index.ntotal)
        # faiss's GPU indexes silently ignore a selector.
        self.filters = hasattr(index, "search_allowed")
        # By nprobe: unwrapping an index takes a tenth of a quick search.
        self._parameters: dict[int, faiss.SearchParameters | None] = {0: None}

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        return None

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        """Search as Source.near does. If the index does not filter, keep the allowed rows among its k nearest."""
        if masks is not None and self.filters:
            return by_mask(masks, k, lambda mask, lines: self._allowed(queries[lines], k, mask))
        if nprobe not in self._parameters:
            self._parameters[nprobe] = search_parameters(self._index, nprobe)
        scores, rows = self._index.search(queries, k, params=self._parameters[nprobe])
        if masks is not None:
            rows = np.where(masks.allow(rows), rows, -1)
        return rows, costs_of(scores, rows, self._metric)

    def _allowed(self, queries: Float32, k: int, mask: RowMask) -> tuple[Int64, Float32]:
        scores, rows = self._index.search_allowed(np.ascontiguousarray(queries), k, mask)
        return rows, costs_of(scores, rows, self._metric)
