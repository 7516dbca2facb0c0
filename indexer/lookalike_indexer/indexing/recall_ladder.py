"""Measured recall at each effort, and the effort that a search takes by it. Does not import faiss."""

from __future__ import annotations

import math

from lookalike_indexer.collection.manifest import IndexEntry, RecallPoint
from lookalike_indexer.errors import NotBuiltError, UsageError

# The k that determines the default nprobe.
_DEFAULT_AT = 10


def ladder_at(points: list[RecallPoint], k: int) -> list[RecallPoint]:
    """Return the recall@k by ascending nprobe. Empty if no recall at this k or a larger one was measured.

    Between two measured k it is the lower of their recalls, because some indexes find more of the first neighbors and
    others more of the later ones.
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
    """Return the recall of the last step up to `nprobe`: a ladder ends where more lists gain nothing."""
    return [point.recall for point in ladder if point.nprobe <= nprobe][-1]


def nprobe_for_recall(entry: IndexEntry, recall: float, k: int = 10) -> RecallPoint:
    """Return the cheapest step of the ladder that reached a recall@k in (0, 1] when the index was built.

    Raise UsageError if the recall is out of range. Raise NotBuiltError if no step reached it, or none was measured at
    this k.
    """
    if not 0 < recall <= 1:
        raise UsageError(f"The recall {recall:g} must be above 0 and at most 1.")
    if not entry.recall:
        raise NotBuiltError(
            f"The recall of the index of {entry.space} was not measured, because it has too few images; "
            "give nprobe, or search exactly."
        )
    ladder = ladder_at(entry.recall, k)
    if not ladder:
        most = max(point.k for point in entry.recall)
        raise NotBuiltError(
            f"The recall@{k} of the index of {entry.space} was not measured, only up to recall@{most}; "
            "give nprobe, search exactly, or measure it with: lookalike build"
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
    """Return the nprobe of a search for k neighbors that specifies no effort; at least the default.

    It is the cheapest that reached the index's target at recall@k, as the default does at recall@10. If nothing was
    measured at k, the visited lists hold about four times as many images as requested, or a graph keeps twice as many
    candidates.
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
    """Return the recall@k measured with `nprobe`; 0 if there is none."""
    return next((point.recall for point in ladder_at(points, k) if point.nprobe == nprobe), 0.0)


def best_point(ladder: list[RecallPoint]) -> RecallPoint:
    """Return the step with the highest recall, the cheapest of equal ones."""
    return max(ladder, key=lambda point: (point.recall, -point.nprobe))


def default_nprobe(ladder: list[RecallPoint], target: float, nlist: int) -> int:
    """Return the cheapest nprobe that reached the target, else the best one; all lists if nothing was measured."""
    if not ladder:
        return nlist
    return next((point for point in ladder if point.recall >= target), best_point(ladder)).nprobe
