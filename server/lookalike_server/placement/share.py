"""Share of an index that one shard server holds.

Indexes are cut by rows. Every share knows the inverted lists of all rows, so that it visits the
same lists as the whole index. A share that ranks candidates by quick codes returns them with their
costs, because only all shards together know which are the best. An index that cannot be cut, such
as a graph, is held whole by each server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.manifest import RecallPoint
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.vectors.metric import faiss_metric
from lookalike_server.common.share import Share
from lookalike_server.placement.decoded_vectors import Decode, DecodedVectors
from lookalike_server.placement.facts import Facts
from lookalike_server.placement.first_stage import first_stage
from lookalike_server.placement.kinds import CODES, Measured, decode_of, source_of
from lookalike_server.placement.lists import Membership
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.projected_source import ProjectedSource
from lookalike_server.placement.reranked import MOST_CANDIDATES, candidates_factor
from lookalike_server.placement.searcher import OnDevice
from lookalike_server.placement.sources import Source
from lookalike_server.placement.strategies import RawHits, facts_of

# See ShardMode in shard.proto.
ShareMode = Literal["rows", "candidates", "whole"]


@dataclass(frozen=True)
class ShareFacts:
    """Facts of an index that a router needs. `dim` and `rows` are of the whole; the rest is as in shard.proto."""

    mode: ShareMode
    dim: int
    rows: int
    lossless: bool
    uncompressed: bool
    depends_on_k: bool = False
    factor: float = 0.0
    least: int = 0

    def widest(self, k: int) -> int:
        """Return the largest number of rows in an answer to a query for k neighbors."""
        return k if self.mode != "candidates" else MOST_CANDIDATES * max(math.ceil(k * self.factor), self.least)


class Candidates(NamedTuple):
    """Rows, distances, and first-stage costs, all (n, m); missing rows are -1 at infinity.

    Each query has `sizes` (n,) candidates among all shards. `effort` and `facts` are as in RawHits.
    """

    rows: Int64
    distances: Float32
    costs: Float32
    sizes: Int64
    effort: Int64
    facts: Facts | None


class HitsShare:
    """A share whose nearest rows are merged with those of other shards, or a whole index."""

    def __init__(self, facts: ShareFacts, searcher: OnDevice) -> None:
        self.facts = facts
        self._searcher = searcher

    def search(
        self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None, candidates: int = 0
    ) -> RawHits:
        """Search as Searcher.search does; `candidates` is ignored."""
        return self._searcher.search(queries, k, nprobe, wanted, masks)


class CandidatesShare:
    """A share of an index in two stages."""

    def __init__(
        self, facts: ShareFacts, source: Source, vectors: DecodedVectors, rows: tuple[int, int] | None
    ) -> None:
        """`rows` are the share's rows if its first stage numbers its own; None if it numbers those of the whole."""
        self.facts = facts
        self._source = source
        self._vectors = vectors
        self._own_rows = rows

    def search(
        self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None, candidates: int = 0
    ) -> Candidates:
        """Return the best `candidates` of the first stage for each query (n, dim); 0 means the usual number."""
        own = masks if masks is None or self._own_rows is None else masks.part(*self._own_rows)
        # Precise, because scores of the quick codes start from those of the lists.
        probes = self._source.probes(queries, nprobe, wanted, precise=True, masks=own)
        effort = np.full(len(queries), nprobe, np.int64) if probes is None else probes.counts
        usual = max(int(np.ceil(k * self.facts.factor)), self.facts.least)
        sizes = np.full(len(queries), candidates or usual, np.int64)
        if masks is not None and not candidates:
            sizes *= candidates_factor(probes, len(queries))
        sizes = np.minimum(sizes, self.facts.rows)
        width = max(1, min(int(sizes.max(initial=1)), self._source.ntotal))
        rows, costs = np.full((len(queries), width), -1, np.int64), np.full((len(queries), width), np.inf, np.float32)
        for size in np.unique(sizes).tolist():
            lines = np.flatnonzero(sizes == size)
            theirs = None if probes is None else probes.of(lines)
            some = None if own is None else own.at(lines)
            found, away = first_stage(self._source, np.ascontiguousarray(queries[lines]), size, nprobe, theirs, some)
            rows[lines, : found.shape[1]], costs[lines, : found.shape[1]] = found, away
        if self._own_rows is not None:
            rows[rows >= 0] += self._own_rows[0]
        return Candidates(rows, self._vectors.distances(queries, rows), costs, sizes, effort, facts_of(probes, own))


ShareIndex = HitsShare | CandidatesShare


def share_of(index: faiss.Index, metric: Metric, share: Share, recall: Sequence[RecallPoint]) -> ShareIndex:
    """Return the share of a loaded index, which must not be used otherwise afterwards."""
    start, stop = share.range_of(int(index.ntotal))
    kind = faiss.downcast_index(index)
    cut: ShareIndex | None = None
    if index.ntotal >= share.of:
        if two_stage.is_two_stage(index) or isinstance(kind, faiss.IndexRefine):
            cut = _cut_stages(kind, metric, (start, stop), recall)
        elif _cuttable(_inner(kind)) and kind.metric_type == faiss_metric(metric):
            cut = _cut_rows(kind, metric, (start, stop), recall)
    return cut or _whole(index, metric, recall)


def _whole(index: faiss.Index, metric: Metric, recall: Sequence[RecallPoint]) -> HitsShare:
    searcher = OnDevice("cpu", index, metric, measured=Measured(recall))
    return HitsShare(_facts(index, "whole", depends_on_k=searcher.depends_on_k), searcher)


def _cut_rows(kind: faiss.Index, metric: Metric, rows: tuple[int, int], recall: Sequence[RecallPoint]) -> HitsShare:
    facts, inner = _facts(kind, "rows"), _inner(kind)
    if isinstance(inner, faiss.IndexIVF):
        membership = _membership(inner)
        piece = _kept(kind, rows)
        return HitsShare(facts, OnDevice("cpu", piece, metric, measured=Measured(recall, membership)))
    piece = _kept(kind, rows)
    return HitsShare(facts, OnDevice("cpu", piece, metric, offset=rows[0], measured=Measured(recall)))


def _cut_stages(
    kind: faiss.IndexRefine, metric: Metric, rows: tuple[int, int], recall: Sequence[RecallPoint]
) -> CandidatesShare | None:
    """Return None if the stages cannot be separated or cut."""
    refine = faiss.downcast_index(kind.refine_index)
    projected = two_stage.is_two_stage(kind)
    first = two_stage.first_stage(kind) if projected else faiss.downcast_index(kind.base_index)
    if not _cuttable(first) or not isinstance(refine, CODES) or decode_of(refine) is None:
        return None
    if not projected and (isinstance(first, faiss.IndexPreTransform) or kind.metric_type != faiss_metric(metric)):
        return None
    factor, least = (two_stage.FACTOR, two_stage.LEAST) if projected else (max(1.0, float(kind.k_factor)), 1)
    facts = _facts(kind, "candidates", factor=factor, least=least)
    lists = isinstance(first, faiss.IndexIVF)
    measured = Measured(recall, _membership(first) if lists else None)
    # Cut each through the object that owns it.
    kept, base = _kept(refine, rows), _kept(first, rows)
    source = source_of(base, "l2" if projected else metric, measured)
    if projected:
        source = ProjectedSource(two_stage.emptied(kind), source, metric)
    vectors = DecodedVectors(_counted_from(rows[0], decode_of(kept)), metric)
    return CandidatesShare(facts, source, vectors, None if lists else rows)


def _counted_from(first: int, decode: Decode | None) -> Decode:
    if decode is None:
        raise AssertionError("a part of codes is decoded as all of them are")
    return lambda rows: decode(rows - first)


def _facts(
    index: faiss.Index, mode: ShareMode, *, depends_on_k: bool = False, factor: float = 0.0, least: int = 0
) -> ShareFacts:
    return ShareFacts(
        mode,
        int(index.d),
        int(index.ntotal),
        describe(index).lossless,
        isinstance(faiss.downcast_index(index), faiss.IndexIVFFlat),
        depends_on_k or mode == "candidates",
        factor,
        least,
    )


def _membership(ivf: faiss.IndexIVF) -> Membership:
    membership = Membership(ivf)
    # Read it now, because the lists are cut next.
    membership.read()
    return membership


def _inner(kind: faiss.Index) -> faiss.Index:
    """Return the index behind vector transforms, such as OPQ or PCA."""
    return faiss.downcast_index(kind.index) if isinstance(kind, faiss.IndexPreTransform) else kind


def _cuttable(kind: faiss.Index) -> bool:
    return isinstance(kind, (faiss.IndexIVF, *CODES))


def _kept(index: faiss.Index, rows: tuple[int, int]) -> faiss.Index:
    """Return an index with the given rows of another one, which loses all other rows. Lists keep their row numbers."""
    index.remove_ids(faiss.IDSelectorNot(faiss.IDSelectorRange(*rows)))
    # A copy, because faiss does not free the memory of removed rows.
    return faiss.deserialize_index(faiss.serialize_index(index))
