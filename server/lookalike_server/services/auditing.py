"""Sampling of live searches for the recall audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike_indexer.arrays import Float32
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits

# A front process audits nothing, so it does not load faiss.
if TYPE_CHECKING:
    from lookalike_server.observe.audit import AuditEffort, RecallAudit


def offer_to_audit(
    audit: RecallAudit,
    snapshot: Snapshot,
    space: Space,
    plan: Plan,
    effort: AuditEffort,
    vectors: Float32,
    hits: Hits,
    mask: RowMask | None,
) -> None:
    """Let the audit choose one query (n, dim) of a search with its hits (n, k), if the search can be audited.

    The audit reads the stored embeddings, so it cannot check searches with later changes.
    """
    from lookalike_server.observe.audit import Sample

    if plan.exact and not plan.scan and not plan.nprobe:
        audit.skip_exact(space.name)
    if plan.exact or hits.scanned or snapshot.base is not snapshot:
        return
    chosen = audit.sample_query(len(vectors))
    if chosen is not None:
        sample = Sample(
            snapshot.reader,
            space.rows,
            space.engine.entry,
            vectors[chosen],
            hits.rows[chosen],
            effort,
            plan.expected_recall,
            mask,
        )
        audit.offer(sample)
