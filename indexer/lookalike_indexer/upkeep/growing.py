"""Extension of clusterings and indexes for a collection that has grown a little, instead of recreating them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.extend import extend_clustering
from lookalike_indexer.clustering.settings import settings_of as cluster_settings_of
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.current import covers
from lookalike_indexer.collection.manifest import ClusteringEntry, IndexEntry, Manifest
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.extend import extend_index
from lookalike_indexer.indexing.recall_ladder import ladder_recall
from lookalike_indexer.indexing.settings import settings_of as build_settings_of
from lookalike_indexer.progress import Progress

# New images are searched exactly beside an index up to this share of its rows; above it the index is extended.
_BESIDE_SHARE = 0.01
# The minimum and the maximum number of such images: servers do not compare more.
_LEAST_BESIDE, _MOST_BESIDE = 256, 4096
# A clustering or an index is recreated if its rows reach this multiple of those that it was trained for.
_GROWN = 2
# An index is also recreated if its recall decreases by this much.
_LOST = 0.01

Done = Literal["kept", "extended", "made again"]


@dataclass(frozen=True)
class Grown:
    """The action for each clustering and each index that lacked images, by "space/name"."""

    clusterings: dict[str, Done]
    indexes: dict[str, Done]


def grow(storage: Storage, draft: Manifest, progress: Progress, gpus: tuple[int, ...] = ()) -> tuple[Manifest, Grown]:
    """Extend the entries that lack images of their space, or recreate them if necessary; publish nothing.

    New images are assigned to the stored centroids, and added to the trained index once there are more than a few. The
    current clustering and the current index stay the same. Errors: see run_cluster and run_build.
    """
    done = Grown({}, {})
    for key, clustering in sorted(draft.clusterings.items()):
        if not covers(draft, clustering):
            draft, done.clusterings[key] = _clustering(storage, draft, clustering, progress, gpus)
            draft = _with_clustering(storage, draft, dataclasses.replace(draft.clusterings[key], made=clustering.made))
    for key, index in sorted(draft.indexes.items()):
        if not covers(draft, index):
            draft, done.indexes[key] = _index(storage, draft, index, progress, gpus)
            draft = _with_index(storage, draft, dataclasses.replace(draft.indexes[key], made=index.made))
    return draft, done


def _clustering(
    storage: Storage, draft: Manifest, entry: ClusteringEntry, progress: Progress, gpus: tuple[int, ...]
) -> tuple[Manifest, Done]:
    rows = draft.spaces[entry.space].rows
    if rows >= _GROWN * (entry.trained_rows or entry.rows):
        return run_cluster(storage, draft, cluster_settings_of(entry, gpus), progress)[0], "made again"
    return _with_clustering(storage, draft, extend_clustering(storage, draft, entry, progress, gpus)), "extended"


def _index(
    storage: Storage, draft: Manifest, entry: IndexEntry, progress: Progress, gpus: tuple[int, ...]
) -> tuple[Manifest, Done]:
    rows, parts = draft.spaces[entry.space].rows, draft.spaces[entry.space].parts
    if rows >= _GROWN * (entry.trained_rows or entry.rows) or not _is_first(draft.parts_of(entry), parts):
        return run_build(storage, draft, build_settings_of(entry, gpus), progress)[0], "made again"
    beside = min(max(_BESIDE_SHARE * entry.rows, _LEAST_BESIDE), _MOST_BESIDE)
    if rows - entry.rows <= beside:
        return draft, "kept"
    extended = extend_index(storage, draft, entry, progress)
    if _has_lost(entry, extended):
        return run_build(storage, draft, build_settings_of(entry, gpus), progress)[0], "made again"
    return _with_index(storage, draft, extended), "extended"


def _has_lost(before: IndexEntry, after: IndexEntry) -> bool:
    """Return whether the recall@10 decreased by more than a small amount and the sampling error."""
    was, now = (ladder_recall(one.recall, one.default_nprobe) for one in (before, after))
    asked = 10 * max(1, min(before.recall_queries, after.recall_queries))
    # Two standard errors of the difference of two shares.
    return was - now > _LOST + 2 * math.sqrt((was * (1 - was) + now * (1 - now)) / asked)


def _is_first(some: Sequence[str], of: Sequence[str]) -> bool:
    """Return whether `some` parts are the first of `of`, in order, so that rows keep their numbers."""
    return list(of[: len(some)]) == list(some)


def _with_clustering(storage: Storage, draft: Manifest, entry: ClusteringEntry) -> Manifest:
    changed = dataclasses.replace(draft, clusterings={**draft.clusterings, f"{entry.space}/{entry.name}": entry})
    return generations.complete(storage, changed)


def _with_index(storage: Storage, draft: Manifest, entry: IndexEntry) -> Manifest:
    changed = dataclasses.replace(draft, indexes={**draft.indexes, f"{entry.space}/{entry.name}": entry})
    return generations.complete(storage, changed)
