"""Execution plan of a search, as the reply reports it."""

from __future__ import annotations

import math
from typing import NamedTuple

from lookalike.v1 import types_pb2
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.filters.matching import FilterMatches
from lookalike_server.generation.spaces import Space
from lookalike_server.search.hits import Hits


class FilterResult(NamedTuple):
    """Result of a call's filter in a space."""

    found: FilterMatches
    mask: RowMask


def put_plan(plan: types_pb2.Plan, space: Space, hits: Hits, exact: bool, filtered: FilterResult | None) -> None:
    """Fill in how hits were found. `exact`: every allowed row was compared."""
    plan.strategy = "exact" if exact else "index"
    plan.rows = plan.matches = space.count
    plan.lists_visited = 0 if exact or not space.engine.entry.nlist else hits.nprobe
    how = hits.filtered
    if how is not None and not exact:
        plan.strategy, plan.lists_visited, plan.lists_skipped = how.strategy, how.lists_visited, how.lists_skipped
        plan.local_share = 0 if math.isnan(how.local_share) else how.local_share
    if filtered is not None:
        plan.filter, plan.cached = filtered.found.matches.text, filtered.found.cached
        plan.matches = filtered.mask.count
