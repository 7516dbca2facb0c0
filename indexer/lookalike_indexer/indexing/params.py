"""Properties of an index, and the parameters of each search."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import faiss

Kind = Literal["flat", "ivf", "graph", "other"]


@dataclass(frozen=True)
class IndexTraits:
    """The properties of an index: `nlist` is 0 without inverted lists; `lossless` means that every search is exact."""

    kind: Kind
    nlist: int
    lossless: bool


def describe(index: faiss.Index) -> IndexTraits:
    """Return the properties of an index, whatever wraps it, on the CPU or on a GPU."""
    # Use another name: the caller's may hold the only reference to the index.
    kind = faiss.downcast_index(index)
    inner = _part(kind)
    if inner is not None:
        return describe(inner)
    wrapped = _wrapped(kind)
    if wrapped is not None:
        return dataclasses.replace(describe(wrapped), lossless=False)
    if isinstance(kind, _types("IndexIVF", "GpuIndexIVF")):
        return IndexTraits("ivf", int(kind.nlist), False)
    if isinstance(kind, _types("IndexHNSW", "IndexNSG", "IndexNNDescent", "GpuIndexCagra")):
        return IndexTraits("graph", 0, False)
    if isinstance(kind, _types("IndexFlat", "GpuIndexFlat")):
        return IndexTraits("flat", 0, True)
    return IndexTraits("other", 0, False)


def refines(index: faiss.Index) -> bool:
    """Return whether an index refines several times as many candidates as requested."""
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexRefine):
        return True
    inner = _part(kind) or _wrapped(kind)
    return inner is not None and refines(inner)


def search_parameters(index: faiss.Index, nprobe: int, share: float = 1.0) -> faiss.SearchParameters | None:
    """Return the parameters of a search that visits `nprobe` inverted lists; None for indexes without parameters.

    For an HNSW graph `nprobe` is the efSearch, the number of candidates that are kept. A refining index compares only
    `share` of its usual number of candidates, for callers that request more neighbors than they need.

    Use them as `index.search(..., params=...)`: the index itself is not changed, so that calls with different
    parameters may share it.
    """
    kind = faiss.downcast_index(index)
    part = _part(kind)
    if part is not None:
        return search_parameters(part, nprobe, share)
    wrapped = _wrapped(kind)
    if wrapped is not None:
        inner = search_parameters(wrapped, nprobe, share)
        if inner is None:
            return None
        if isinstance(kind, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=inner)
        factor = max(1.0, kind.k_factor * share)
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
    if isinstance(kind, _types("IndexIVF", "GpuIndexIVF")):
        return faiss.SearchParametersIVF(nprobe=nprobe)
    if nprobe and isinstance(kind, _types("IndexHNSW")):
        return faiss.SearchParametersHNSW(efSearch=nprobe)
    return None


def _part(index: faiss.Index) -> faiss.Index | None:
    """Return the first of the equal parts or copies of an index over several devices."""
    several = isinstance(index, _types("IndexShards", "IndexReplicas"))
    return index.at(0) if several and index.count() else None


def _wrapped(index: faiss.Index) -> faiss.Index | None:
    """Return the index behind a transformation of the vectors, or before a refinement of the results."""
    if isinstance(index, faiss.IndexPreTransform):
        return index.index
    return index.base_index if isinstance(index, faiss.IndexRefine) else None


def _types(*names: str) -> tuple[Any, ...]:
    """Return the classes that this build of faiss has: the CPU build lacks those of GPUs."""
    return tuple(getattr(faiss, name) for name in names if hasattr(faiss, name))
