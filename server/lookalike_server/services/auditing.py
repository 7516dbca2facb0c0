"""Live searches as samples for the recall audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike_indexer.arrays import Float32
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits

# A front audits nothing, and loads no faiss.
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
    """Let an audit choose one of the queries (n, dim) of a search with its hits (n, k), if it can be told of any.

    It reads the embeddings that are stored, so that it cannot tell of what has changed since.
    """
    from lookalike_server.observe.audit import Sample

    if plan.exact or hits.scanned or snapshot.base is not snapshot:
        return
    chosen = audit.chosen(len(vectors))
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
