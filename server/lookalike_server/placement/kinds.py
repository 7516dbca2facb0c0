"""Strategy for each kind of index, by its faiss classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.manifest import RecallPoint
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.vectors.metric import faiss_metric
from lookalike_server.placement.coverage import coverage_of
from lookalike_server.placement.decoded_vectors import Decode, DecodedVectors
from lookalike_server.placement.filtered_lists import FilteredChooser
from lookalike_server.placement.flat_source import FlatSource
from lookalike_server.placement.graph_source import GraphSource
from lookalike_server.placement.index_distances import IndexDistances
from lookalike_server.placement.list_source import ListSource
from lookalike_server.placement.lists import ListChooser, Membership
from lookalike_server.placement.other_source import OtherSource
from lookalike_server.placement.projected_source import ProjectedSource, TwoStageSource
from lookalike_server.placement.reranked import Reranked
from lookalike_server.placement.sources import Source
from lookalike_server.placement.strategies import Compared, Graph, Strategy

Transform = Callable[[Float32], Float32]

# Kinds whose scores are, except for rounding, the distances to what their codes decode to.
CODES = (faiss.IndexFlat, faiss.IndexScalarQuantizer, faiss.IndexPQ)
_LISTS = (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)


@dataclass(frozen=True)
class Measured:
    """Measurements of an index: the recall ladders of its manifest entry, and, for a shard, the lists of all rows."""

    recall: Sequence[RecallPoint] = ()
    membership: Membership | None = None


UNMEASURED = Measured()


def strategy_of(
    index: Any, metric: Metric, max_selection: int | None = None, measured: Measured = UNMEASURED
) -> tuple[Transform, Strategy]:
    """Return the transform for queries, and the strategy that searches the index for them.

    An index on a GPU is searched without a transform.
    """
    nlist = _nlist(index)
    coverage = coverage_of(measured.recall, nlist, int(index.ntotal))
    as_found = IndexDistances(OtherSource(index, metric), metric, nlist, max_selection, coverage)
    if not isinstance(index, faiss.Index) or max_selection is not None:
        return np.ascontiguousarray, as_found
    if two_stage.is_two_stage(index):
        return np.ascontiguousarray, _two_stage(_downcast(index), metric, measured)
    transform, kind = _untransformed(index)
    if kind.metric_type != faiss_metric(metric):
        return np.ascontiguousarray, as_found
    if isinstance(kind, faiss.IndexRefine):
        return transform, _refined(kind, metric, measured) or as_found
    source = source_of(kind, metric, measured)
    decode = decode_of(kind)
    if decode is None:
        return transform, IndexDistances(source, metric, 0, None)
    vectors = DecodedVectors(decode, metric)
    if isinstance(source, GraphSource):
        return transform, Graph(source, vectors)
    if isinstance(source, (FlatSource, ListSource)):
        return transform, Compared(source, vectors, metric)
    return transform, IndexDistances(source, metric, 0, None)


def _refined(kind: faiss.IndexRefine, metric: Metric, measured: Measured) -> Strategy | None:
    """Return the strategy of a refined index, or None if an unusual kind is refined."""
    base = faiss.downcast_index(kind.base_index)
    decode = decode_of(faiss.downcast_index(kind.refine_index))
    if decode is None or isinstance(base, faiss.IndexPreTransform):
        return None
    return Reranked(source_of(base, metric, measured), DecodedVectors(decode, metric), float(kind.k_factor))


def _two_stage(kind: faiss.IndexRefine, metric: Metric, measured: Measured) -> Strategy:
    decode = decode_of(faiss.downcast_index(kind.refine_index))
    if decode is None:
        # The index's own scores are squared distances for any metric, so they must not be reported.
        raise DeviceError("The codes of the second stage of the index cannot be decoded; rebuild the index.")
    first = two_stage.first_stage(kind)
    inner = source_of(first, "l2", measured)
    # faiss's own choice of lists depends on the batch.
    made = ProjectedSource if isinstance(first, faiss.IndexIVF) else TwoStageSource
    source: Source = made(kind, inner, metric)
    return Reranked(source, DecodedVectors(decode, metric), two_stage.FACTOR, two_stage.LEAST)


def source_of(kind: faiss.Index, metric: Metric, measured: Measured) -> Source:
    if isinstance(kind, faiss.IndexIVF):
        membership = measured.membership or Membership(kind)
        chooser = ListChooser(kind, membership.sizes)
        coverage = coverage_of(measured.recall, int(kind.nlist), int(membership.sizes.sum()))
        return ListSource(kind, metric, chooser, FilteredChooser(chooser, membership, coverage, int(kind.d)))
    if isinstance(kind, CODES):
        return FlatSource(kind, metric)
    if isinstance(kind, faiss.IndexHNSW):
        return GraphSource(kind, metric)
    return OtherSource(kind, metric)


def decode_of(kind: faiss.Index) -> Decode | None:
    """Return a function that reads vectors by row, or None if scores are not the distances to them."""
    if isinstance(kind, faiss.IndexHNSW):
        return decode_of(faiss.downcast_index(kind.storage))
    if isinstance(kind, _LISTS) and not isinstance(kind, faiss.IndexIVFPQR):
        # Map from rows to their places in the lists: 8 bytes per image. A shard's rows are not contiguous.
        whole = kind.ntotal and int(kind.ntotal) == _rows(kind)
        kind.set_direct_map_type(faiss.DirectMap.Array if whole else faiss.DirectMap.Hashtable)
    elif not isinstance(kind, CODES):
        return None
    if isinstance(kind, faiss.IndexScalarQuantizer):
        codes = faiss.rev_swig_ptr(kind.codes.data(), kind.ntotal * kind.code_size).reshape(kind.ntotal, -1)
        # The same vectors as from reconstruct_batch, five times as fast.
        return lambda rows: kind.sa_decode(codes.take(rows, axis=0))
    reconstruct: Decode = kind.reconstruct_batch
    return reconstruct


def _untransformed(index: faiss.Index) -> tuple[Transform, faiss.Index]:
    """Return the index behind vector transforms, and a function that applies those transforms to queries."""
    kind = _downcast(index)
    if not isinstance(kind, faiss.IndexPreTransform):
        return np.ascontiguousarray, kind
    chain = [faiss.downcast_VectorTransform(kind.chain.at(number)) for number in range(kind.chain.size())]
    inner, rest = _untransformed(kind.index)

    def transform(queries: Float32) -> Float32:
        # Transform each query separately: the rounding of a matrix product depends on its shape.
        lines = [queries[number : number + 1] for number in range(len(queries))]
        for step in chain:
            lines = [step.apply(line) for line in lines]
        return inner(np.ascontiguousarray(np.concatenate(lines)))

    return transform, rest


def _downcast(index: faiss.Index) -> faiss.Index:
    """Return the index as its own class, or unchanged if its Python class is that one or derived from it."""
    kind = faiss.downcast_index(index)
    return index if isinstance(index, type(kind)) else kind


def _rows(ivf: faiss.IndexIVF) -> int:
    """Return one more than the highest row in any list."""
    return 1 + max(
        (
            int(faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).max())
            for number in range(ivf.nlist)
            if (size := ivf.invlists.list_size(number))
        ),
        default=-1,
    )


def _nlist(index: Any) -> int:
    return describe(index).nlist if isinstance(index, faiss.Index) else 0
