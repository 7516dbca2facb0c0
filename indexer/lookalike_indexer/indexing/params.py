"""What an index is, and the parameters that travel with each search of it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import faiss

from lookalike_indexer.collection.manifest import IndexEntry, RecallPoint
from lookalike_indexer.errors import NotBuiltError, UsageError

# The k at which the default nprobe is decided.
_DEFAULT_AT = 10

Kind = Literal["flat", "ivf", "graph", "other"]


@dataclass(frozen=True)
class IndexTraits:
    """`nlist` is 0 without inverted lists; `lossless` means that every search is exact."""

    kind: Kind
    nlist: int
    lossless: bool


def describe(index: faiss.Index) -> IndexTraits:
    """What kind of index this is, whatever it is wrapped in, on the processor or on a GPU."""
    # By another name: the caller's may be the only thing that owns the index.
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
    """Whether an index looks again at several times as many candidates as are asked for."""
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexRefine):
        return True
    inner = _part(kind) or _wrapped(kind)
    return inner is not None and refines(inner)


def search_parameters(index: faiss.Index, nprobe: int, share: float = 1.0) -> faiss.SearchParameters | None:
    """The parameters with which a search of this index visits `nprobe` inverted lists; None when it has none.

    Of an HNSW graph `nprobe` is the efSearch, the number of candidates that are kept.

    An index that refines looks again at `share` of the candidates that it would otherwise, for who asks for more than
    they need.

    For `index.search(..., params=...)`: nothing of the index itself is changed,
    so that calls with different parameters may share it.
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


def ladder_at(points: list[RecallPoint], k: int) -> list[RecallPoint]:
    """The recall@k by ascending nprobe. Empty where no recall at this k or a larger one was measured.

    Between two k that were measured it is the lower of their recalls, since
    some indexes find more of the first neighbors and others of the later ones.
    """
    measured = sorted({point.k for point in points})
    above = [each for each in measured if each >= k]
    if not above:
        return []
    below = [each for each in measured if each <= k]
    ladders = [[point for point in points if point.k == each] for each in {above[0], *below[-1:]}]
    start = max(ladder[0].nprobe for ladder in ladders)
    steps = sorted({point.nprobe for ladder in ladders for point in ladder if point.nprobe >= start})
    return [RecallPoint(step, min(_reached(ladder, step) for ladder in ladders), k) for step in steps]


def _reached(ladder: list[RecallPoint], nprobe: int) -> float:
    """The recall of the last step up to `nprobe`: a ladder ends where more lists gain nothing."""
    return [point.recall for point in ladder if point.nprobe <= nprobe][-1]


def nprobe_for_recall(entry: IndexEntry, recall: float, k: int = 10) -> RecallPoint:
    """The cheapest step of the ladder that reached a recall@k in (0, 1] when the index was built.

    UsageError: not such a number. NotBuiltError: no step reached it, or none was measured at this k.
    """
    if not 0 < recall <= 1:
        raise UsageError(f"A recall of {recall:g} cannot be asked for; it must be above 0 and at most 1.")
    if not entry.recall:
        raise NotBuiltError(
            f"The recall of the index of {entry.space} was never measured, it has too few images; "
            "ask for an nprobe or for an exact search."
        )
    ladder = ladder_at(entry.recall, k)
    if not ladder:
        most = max(point.k for point in entry.recall)
        raise NotBuiltError(
            f"The recall@{k} of the index of {entry.space} was never measured, only up to recall@{most}; "
            "ask for an nprobe or for an exact search, or run lookalike build again, which measures it."
        )
    reached = [point for point in ladder if point.recall >= recall]
    if not reached:
        best = best_point(ladder)
        effort = f" with nprobe {best.nprobe}" if best.nprobe else ""
        raise NotBuiltError(
            f"The index of {entry.space} ({entry.factory}) reaches a recall@{k} of {best.recall:.4f}{effort} at best, "
            f"not {recall:g}; ask for less or for an exact search, or build another index."
        )
    return reached[0]


def nprobe_for_k(entry: IndexEntry, k: int) -> int:
    """The nprobe of a search for k neighbors that does not say how hard to look; at least the default.

    It is the cheapest that reached the index's target at recall@k, as the
    default did at recall@10. Where nothing was measured at k, its lists hold
    about four times as many images as are wanted, or a graph keeps twice as
    many candidates.
    """
    if not entry.default_nprobe or k <= _DEFAULT_AT:
        return entry.default_nprobe
    ladder = ladder_at(entry.recall, k)
    if ladder:
        target = entry.target_recall or ladder_recall(entry.recall, entry.default_nprobe)
        return max(entry.default_nprobe, default_nprobe(ladder, target, entry.nlist))
    if not entry.nlist:
        return max(entry.default_nprobe, 2 * k)
    return max(entry.default_nprobe, min(entry.nlist, math.ceil(4 * k * entry.nlist / max(1, entry.rows))))


def ladder_recall(points: list[RecallPoint], nprobe: int, k: int = 10) -> float:
    """The recall@k that was measured with `nprobe`; 0 where none was."""
    return next((point.recall for point in ladder_at(points, k) if point.nprobe == nprobe), 0.0)


def best_point(ladder: list[RecallPoint]) -> RecallPoint:
    """The step with the highest recall, the cheapest of equal ones."""
    return max(ladder, key=lambda point: (point.recall, -point.nprobe))


def default_nprobe(ladder: list[RecallPoint], target: float, nlist: int) -> int:
    """The cheapest nprobe that reached the target, else the best one; all lists when nothing was measured."""
    if not ladder:
        return nlist
    return next((point for point in ladder if point.recall >= target), best_point(ladder)).nprobe


def _part(index: faiss.Index) -> faiss.Index | None:
    """The first of the like parts or copies that an index over several devices consists of."""
    several = isinstance(index, _types("IndexShards", "IndexReplicas"))
    return index.at(0) if several and index.count() else None


def _wrapped(index: faiss.Index) -> faiss.Index | None:
    """The index behind a transformation of the vectors, or before a refinement of the results."""
    if isinstance(index, faiss.IndexPreTransform):
        return index.index
    return index.base_index if isinstance(index, faiss.IndexRefine) else None


def _types(*names: str) -> tuple[Any, ...]:
    """Those classes that this build of faiss has: the one for processors lacks the GPU's."""
    return tuple(getattr(faiss, name) for name in names if hasattr(faiss, name))
