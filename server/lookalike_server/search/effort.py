"""Search effort: from exact, nprobe, or a recall target to the parameters of the index."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.indexing.recall_ladder import ladder_at, nprobe_for_k, nprobe_for_recall
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits

# A front process needs neither, so it does not load faiss.
if TYPE_CHECKING:
    import faiss


@dataclass(frozen=True)
class Effort:
    """Effort that the caller requested; at most one field is set."""

    exact: bool = False
    nprobe: int | None = None
    recall: float | None = None


@dataclass(frozen=True)
class Plan:
    """Search parameters. `scan` means to compare with every stored embedding, without the index.

    `nprobe` goes to the index; it is 0 if the index has no lists. `exact` means that no nearer
    neighbor can have been missed. `expected_recall` is 0 if it was not measured.
    """

    scan: bool
    nprobe: int
    exact: bool
    expected_recall: float


@dataclass(frozen=True)
class Planner:
    """Planner of searches of one index.

    `lossless`: every search of the index is exact. `uncompressed`: its lists hold the embeddings
    unchanged, so visiting all of them is exact. `incomplete`: the index lacks images of the space.
    """

    entry: IndexEntry
    lossless: bool
    uncompressed: bool
    incomplete: bool = False
    # By k, because most calls use the same few values.
    _ladders: dict[int, dict[int, float]] = field(default_factory=dict, compare=False)
    _defaults: dict[int, int] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, entry: IndexEntry, index: faiss.Index, *, incomplete: bool = False) -> Planner:
        import faiss

        from lookalike_indexer.indexing.params import describe

        uncompressed = isinstance(faiss.downcast_index(index), faiss.IndexIVFFlat)
        return cls(entry, describe(index).lossless, uncompressed, incomplete)

    def plan(self, effort: Effort, limits: Limits, k: int = 10) -> Plan:
        """Return the plan of a search for k neighbors.

        Raises ArgumentError if a value is out of range, and NotBuiltError if this index cannot
        reach the recall@k.
        """
        plan = self._plan(effort, limits, k)
        if not self.incomplete or plan.scan:
            return plan
        if effort.exact:
            return Plan(scan=True, nprobe=0, exact=True, expected_recall=1)
        return dataclasses.replace(plan, exact=False, expected_recall=0)

    def _plan(self, effort: Effort, limits: Limits, k: int) -> Plan:
        if effort.nprobe is not None and not 1 <= effort.nprobe <= limits.max_nprobe:
            raise ArgumentError(
                "nprobe",
                f"nprobe is {effort.nprobe}; it must be 1 to {limits.max_nprobe}; the server's --max-nprobe sets this.",
            )
        # Written so that NaN is rejected as well.
        if effort.recall is not None and not 0 < effort.recall <= 1:
            raise ArgumentError("recall", f"recall is {effort.recall:g}; it must be above 0 and at most 1.")
        if self.lossless:
            return Plan(scan=False, nprobe=0, exact=True, expected_recall=1)
        if effort.exact:
            all_lists = self.uncompressed and self.entry.nlist <= limits.max_nprobe
            return Plan(scan=not all_lists, nprobe=self.entry.nlist if all_lists else 0, exact=True, expected_recall=1)
        if effort.recall is not None:
            point = nprobe_for_recall(self.entry, _just_below(effort.recall), k)
            return Plan(scan=False, nprobe=point.nprobe, exact=False, expected_recall=point.recall)
        return self._by_nprobe(effort.nprobe or self._default(k), limits, k)

    def _by_nprobe(self, wanted: int, limits: Limits, k: int) -> Plan:
        # A graph has no lists, so only the limit bounds its effort. Other indexes without lists have no such parameter.
        most = self.entry.nlist or (limits.max_nprobe if self.entry.default_nprobe else 0)
        nprobe = min(wanted, most, limits.max_nprobe)
        return Plan(scan=False, nprobe=nprobe, exact=False, expected_recall=self._measured(k).get(nprobe, 0))

    def _default(self, k: int) -> int:
        if k not in self._defaults:
            self._defaults[k] = nprobe_for_k(self.entry, k)
        return self._defaults[k]

    def _measured(self, k: int) -> dict[int, float]:
        """Return the measured recall@k by nprobe."""
        if k not in self._ladders:
            self._ladders[k] = {point.nprobe: point.recall for point in ladder_at(self.entry.recall, k)}
        return self._ladders[k]


def _just_below(recall: float) -> float:
    """Return the recall that a step must have measured. A recall of 0.8 arrives as the float32 0.800000012."""
    return float(np.nextafter(np.float32(recall), np.float32(0)))
