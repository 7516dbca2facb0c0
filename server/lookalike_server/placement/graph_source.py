"""Graphs as sources of candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing.params import search_parameters
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.facts import Facts, Strategy
from lookalike_server.placement.flat_source import FlatSource
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks, bitmap
from lookalike_server.placement.sources import MARGIN, by_mask, costs_of, require_probes

# Up to this share of matches, all of them are compared in the graph's storage.
_SCANNED_SHARE = 0.03
# So are they with at most this many matches for each candidate to keep: comparing them takes as long as following the
# graph with one more candidate. With few dimensions there are more, because a graph mostly waits for memory.
_COMPARED, _COMPARED_VALUES = 16, 8192
# Up to _FEW matches, quick codes need no more candidates than usual. With more matches of unknown place, the search
# assumes that matches are rarer near the query by the factor _PERHAPS.
_FEW, _PERHAPS = 2048, 1.4
# Search parameters to keep.
_MOST_PARAMETERS = 1024
# All matches are also compared if the share of matches among the nearest images is below _RARE of their overall share.
# The sample is large enough to expect _EXPECTED matches, but has at most _AROUND images.
_RARE, _EXPECTED, _AROUND = 0.5, 4, 64


class GraphSource:
    """A graph, followed from one vector to nearer ones; `nprobe` is its efSearch.

    faiss also follows a graph through vectors that a mask does not allow, and counts them as
    candidates. So if matches are few, or rare near the query, all of them are compared in the
    graph's storage. Otherwise more candidates are kept. If only few rows do not match, enough
    candidates are kept to include all of those.
    """

    filters = True

    def __init__(self, index: faiss.IndexHNSW, metric: Metric) -> None:
        self._index = index
        self._metric: Metric = metric
        self._storage = FlatSource(faiss.downcast_index(index.storage), metric)
        self.ntotal = int(index.ntotal)
        self._compared = _COMPARED + _COMPARED_VALUES / int(index.d)
        # By efSearch: making them takes a tenth of a quick search.
        self._parameters: dict[int, Any] = {}

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        """For queries with masks, return the efSearch as `counts`, 0 if the storage is compared instead.

        Otherwise None.
        """
        if masks is None:
            return None
        matches, shares = masks.matches, masks.shares
        efforts = np.ceil(np.maximum(nprobe, wanted + MARGIN) / np.maximum(shares, 1e-9))
        walked = (shares > _SCANNED_SHARE) & (matches > self._compared * efforts)
        local = np.full(len(queries), np.nan)
        # Of matches that are all compared, the distance from the query is unknown.
        rarity = np.where(matches > _FEW, _PERHAPS, 1.0)
        lines = np.flatnonzero(walked)
        if len(lines):
            local[lines], around = self._local(queries, nprobe, wanted, masks, lines)
            walked[lines] = local[lines] >= _RARE * shares[lines]
            # If clearly fewer match near the query than elsewhere, raise the effort further: more distant matches are
            # missed more easily.
            chance = np.sqrt(shares[lines] * (1 - shares[lines]) / around)
            rarity[lines] = np.maximum(shares[lines] / np.maximum(local[lines] + chance, 1e-9), 1)
            efforts[lines] *= np.square(rarity[lines])
            rare = lines[~walked[lines]]
            efforts[rare] = np.maximum(nprobe, self.ntotal - matches[rare] + wanted[rare] + MARGIN)
            walked[rare] = matches[rare] > self._compared * efforts[rare]
        kinds: list[Strategy] = [
            "none" if not count else "graph" if walks else "matches"
            for count, walks in zip(matches.tolist(), walked.tolist(), strict=True)
        ]
        facts = replace(Facts.alike("graph", len(queries)), strategy=kinds, local=local)
        counts = np.where(walked, np.ceil(efforts), 0).astype(np.int64)
        nothing = np.empty((len(queries), 0))
        return Probes(nothing.astype(np.int64), nothing.astype(np.float32), counts, facts, rarity)

    def _local(
        self, queries: Float32, nprobe: int, wanted: Int64, masks: QueryMasks, lines: Int64
    ) -> tuple[Float64, Int64]:
        """Return the share of matches among the nearest images of some queries, and the numbers of these images."""
        shares = masks.shares[lines]
        around = np.clip(np.ceil(_EXPECTED / shares), wanted[lines] + MARGIN, _AROUND).astype(np.int64)
        around = np.minimum(around, self.ntotal)
        local = np.empty(len(lines))
        for size in sorted(set(around.tolist())):
            places = np.flatnonzero(around == size)
            some = lines[places]
            rows, _ = self.near(np.ascontiguousarray(queries[some]), size, max(nprobe, size), None)
            local[places] = masks.at(some).allow(rows).mean(axis=1)
        return local, around

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        if masks is None:
            scores, rows = self._index.search(queries, k, params=self._parameters_for(max(nprobe, k)))
            return rows, costs_of(scores, rows, self._metric)
        efforts = require_probes(probes).counts
        rows, costs = by_mask(masks, k, lambda mask, lines: self._walked(queries[lines], k, efforts[lines], mask))
        # Queries whose walk did not find enough, or that did not walk.
        short = np.flatnonzero((rows >= 0).sum(axis=1) < np.minimum(k, masks.matches))
        if len(short):
            again = np.ascontiguousarray(queries[short])
            rows[short], costs[short] = self._storage.near(again, k, 0, None, masks.at(short))
        return rows, costs

    def _parameters_for(self, effort: int) -> Any:
        if effort not in self._parameters:
            if len(self._parameters) >= _MOST_PARAMETERS:
                self._parameters.clear()
            self._parameters[effort] = search_parameters(self._index, effort)
        return self._parameters[effort]

    def _walked(self, queries: Float32, k: int, efforts: Int64, mask: RowMask) -> tuple[Int64, Float32]:
        different = set(efforts.tolist())
        if len(different) == 1 and (effort := different.pop()):
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k), sel=bitmap(mask))
            scores, rows = self._index.search(queries, k, params=parameters)
            return rows, costs_of(scores, rows, self._metric)
        rows, costs = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
        for effort in sorted(different - {0}):
            lines = np.flatnonzero(efforts == effort)
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k), sel=bitmap(mask))
            scores, rows[lines] = self._index.search(np.ascontiguousarray(queries[lines]), k, params=parameters)
            costs[lines] = costs_of(scores, rows[lines], self._metric)
        return rows, costs
