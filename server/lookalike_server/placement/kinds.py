"""Which strategy suits an index, by the classes of faiss that it consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.metric import faiss_metric
from lookalike_indexer.indexing.params import describe
from lookalike_server.placement.held import Decode, Held
from lookalike_server.placement.lists import ListChooser, list_sizes
from lookalike_server.placement.sources import (
    FlatSource,
    GraphSource,
    ListSource,
    OtherSource,
    ProjectedSource,
    Source,
    TwoStageSource,
)
from lookalike_server.placement.strategies import AsFound, Compared, Graph, Refined, Strategy

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Transform = Callable[[Float32], Float32]

# Kinds whose scores are, but for rounding, the distances to what their codes decode to.
_CODES = (faiss.IndexFlat, faiss.IndexScalarQuantizer, faiss.IndexPQ)
_LISTS = (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)


def strategy_of(
    index: Any, metric: Metric, max_selection: int | None = None, sizes: Int64 | None = None
) -> tuple[Transform, Strategy]:
    """What queries are transformed by, and how the index is searched for them.

    `sizes` (nlist,) are those of all inverted lists, where the index is a
    shard. An index on a GPU is searched as it is.
    """
    as_found = AsFound(OtherSource(index, metric), metric, _nlist(index), max_selection)
    if not isinstance(index, faiss.Index) or max_selection is not None:
        return np.ascontiguousarray, as_found
    if two_stage.is_two_stage(index):
        return np.ascontiguousarray, _two_stage(_downcast(index), metric)
    transform, kind = _untransformed(index)
    if kind.metric_type != faiss_metric(metric):
        return np.ascontiguousarray, as_found
    if isinstance(kind, faiss.IndexRefine):
        return transform, _refined(kind, metric) or as_found
    source = _source(kind, metric, sizes)
    decode = _decode(kind)
    if decode is None:
        return transform, AsFound(source, metric, 0, None)
    held = Held(decode, metric)
    if isinstance(source, GraphSource):
        return transform, Graph(source, held)
    if isinstance(source, (FlatSource, ListSource)):
        return transform, Compared(source, held, metric)
    return transform, AsFound(source, metric, 0, None)


def _refined(kind: faiss.IndexRefine, metric: Metric) -> Strategy | None:
    """None when what is refined is of an unusual kind."""
    base = faiss.downcast_index(kind.base_index)
    decode = _decode(faiss.downcast_index(kind.refine_index))
    if decode is None or isinstance(base, faiss.IndexPreTransform):
        return None
    return Refined(_source(base, metric, None), Held(decode, metric), float(kind.k_factor))


def _two_stage(kind: faiss.IndexRefine, metric: Metric) -> Strategy:
    decode = _decode(faiss.downcast_index(kind.refine_index))
    if decode is None:
        # Its own scores are squared distances whatever the metric, so that they must not be shown as they are.
        raise DeviceError("The second stage of the index holds codes that cannot be decoded; build the index again.")
    first = two_stage.first_stage(kind)
    source: Source = TwoStageSource(kind)
    if isinstance(first, faiss.IndexIVF):
        # faiss's own choice of lists depends on the batch.
        source = ProjectedSource(kind, ListSource(first, "l2", ListChooser(first, list_sizes(first))))
    return Refined(source, Held(decode, metric), two_stage.FACTOR, two_stage.LEAST)


def _source(kind: faiss.Index, metric: Metric, sizes: Int64 | None) -> Source:
    if isinstance(kind, faiss.IndexIVF):
        return ListSource(kind, metric, ListChooser(kind, list_sizes(kind) if sizes is None else sizes))
    if isinstance(kind, _CODES):
        return FlatSource(kind, metric)
    if isinstance(kind, faiss.IndexHNSW):
        return GraphSource(kind, metric)
    return OtherSource(kind, metric)


def _decode(kind: faiss.Index) -> Decode | None:
    """Reads vectors by their rows; None where scores are not the distances to them."""
    if isinstance(kind, faiss.IndexHNSW):
        return _decode(faiss.downcast_index(kind.storage))
    if isinstance(kind, _LISTS) and not isinstance(kind, faiss.IndexIVFPQR):
        # From rows to their places in the lists: 8 bytes an image. A shard has rows from anywhere.
        whole = kind.ntotal and int(kind.ntotal) == _rows(kind)
        kind.set_direct_map_type(faiss.DirectMap.Array if whole else faiss.DirectMap.Hashtable)
    elif not isinstance(kind, _CODES):
        return None
    if isinstance(kind, faiss.IndexScalarQuantizer):
        codes = faiss.rev_swig_ptr(kind.codes.data(), kind.ntotal * kind.code_size).reshape(kind.ntotal, -1)
        # The same vectors as from reconstruct_batch, five times as fast.
        return lambda rows: kind.sa_decode(codes[rows])
    reconstruct: Decode = kind.reconstruct_batch
    return reconstruct


def _untransformed(index: faiss.Index) -> tuple[Transform, faiss.Index]:
    """The index behind transforms of the vectors, and what does to queries as they do."""
    kind = _downcast(index)
    if not isinstance(kind, faiss.IndexPreTransform):
        return np.ascontiguousarray, kind
    chain = [faiss.downcast_VectorTransform(kind.chain.at(number)) for number in range(kind.chain.size())]
    inner, rest = _untransformed(kind.index)

    def transform(queries: Float32) -> Float32:
        # Each on its own: how a matrix product rounds depends on its shape.
        lines = [queries[number : number + 1] for number in range(len(queries))]
        for step in chain:
            lines = [step.apply(line) for line in lines]
        return inner(np.ascontiguousarray(np.concatenate(lines)))

    return transform, rest


def _downcast(index: faiss.Index) -> faiss.Index:
    """The index by its own class; itself where it is of that class or of one that somebody derived from it."""
    kind = faiss.downcast_index(index)
    return index if isinstance(index, type(kind)) else kind


def _rows(ivf: faiss.IndexIVF) -> int:
    """One more than the highest row that a list holds."""
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
