"""Recreation of clusterings and indexes for a collection that has grown, with their recorded settings."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass

from lookalike_indexer.clustering.cluster_stage import ClusterReport, run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.settings import settings_of as cluster_settings_of
from lookalike_indexer.collection.current import covers, default_clustering, default_index
from lookalike_indexer.collection.manifest import ClusteringEntry, IndexEntry, Manifest
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.indexing.build_stage import BuildReport, run_build
from lookalike_indexer.indexing.early_checks import check_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.indexing.settings import settings_of as build_settings_of
from lookalike_indexer.progress import Progress
from lookalike_indexer.text import counted


@dataclass(frozen=True)
class Renewed:
    """The result of a renewal: a report for each recreated clustering and index."""

    clusterings: list[ClusterReport]
    indexes: list[BuildReport]


def renew(
    storage: Storage, draft: Manifest, progress: Progress, gpus: tuple[int, ...] = (), unusable_only: bool = False
) -> tuple[Manifest, Renewed]:
    """Recreate each clustering and index that lacks images of its space; publish nothing.

    With `unusable_only`, recreate only those whose embedding files do not exist anymore: they cannot be read or served.
    The current ones stay current. Raise NotBuiltError if some of them cannot be made from so few images; then nothing
    is made. Further errors: see run_cluster and run_build.
    """
    done = Renewed([], [])

    def is_due(entry: ClusteringEntry | IndexEntry) -> bool:
        return not covers(draft, entry) and (not unusable_only or _has_lost(storage, draft, entry))

    clusterings = {key: entry for key, entry in sorted(draft.clusterings.items()) if is_due(entry)}
    indexes = {key: entry for key, entry in sorted(draft.indexes.items()) if is_due(entry)}
    _require_images(storage, draft, clusterings, indexes, gpus)
    for key, clustering in clusterings.items():
        draft, clustered = run_cluster(storage, draft, cluster_settings_of(clustering, gpus), progress)
        same = dataclasses.replace(draft.clusterings[key], made=clustering.made)
        draft = dataclasses.replace(draft, clusterings={**draft.clusterings, key: same})
        done.clusterings.append(dataclasses.replace(clustered, entry=same))
    for key, index in indexes.items():
        draft, built = run_build(storage, draft, build_settings_of(index, gpus), progress)
        kept = dataclasses.replace(draft.indexes[key], made=index.made)
        draft = dataclasses.replace(draft, indexes={**draft.indexes, key: kept})
        done.indexes.append(dataclasses.replace(built, entry=kept))
    return draft, done


def _require_images(
    storage: Storage,
    draft: Manifest,
    clusterings: dict[str, ClusteringEntry],
    indexes: dict[str, IndexEntry],
    gpus: tuple[int, ...],
) -> None:
    """Raise NotBuiltError for entries that need more images than exist, with the command that removes them."""
    reasons, unwanted = [], []
    for key, clustering in clusterings.items():
        wanted = cluster_settings_of(clustering, gpus).clusters
        images = draft.spaces[clustering.space].rows
        if wanted is not None and wanted > images:
            reasons.append(f"the clustering {key} has {wanted} clusters, and its space {counted(images, 'image')} now")
            unwanted.append(f"--clustering {shlex.quote(key)}")
    for key, index in indexes.items():
        space = draft.spaces[index.space]
        try:
            check_build(build_settings_of(index, gpus), space.rows, space.dim)
        except UsageError:
            reasons.append(f"the index {key} needs more than the {space.rows} images that its space has now")
            unwanted.append(f"--index {shlex.quote(key)}")
    if reasons:
        where = shlex.quote(storage.location)
        raise NotBuiltError(
            f"These cannot be made again: {'; '.join(reasons)}. Bring the images back, or run: lookalike remove "
            f"{where} {' '.join(unwanted)}; then run the same command again."
        )


def _has_lost(storage: Storage, draft: Manifest, entry: ClusteringEntry | IndexEntry) -> bool:
    """Return whether an embedding file of an entry is missing and was replaced in its space."""
    replaced = set(draft.parts_of(entry)).difference(draft.spaces[entry.space].parts)
    return not all(storage.exists(path) for path in replaced)


def recorded_clustering(manifest: Manifest | None, space: str, gpus: tuple[int, ...] = ()) -> ClusterSettings | None:
    """Return the settings of a space's current clustering; None if it has none."""
    key = None if manifest is None else default_clustering(manifest, space)
    return None if manifest is None or key is None else cluster_settings_of(manifest.clusterings[key], gpus)


def recorded_index(manifest: Manifest | None, space: str, gpus: tuple[int, ...] = ()) -> BuildSettings | None:
    """Return the settings of a space's current index; None if it has none."""
    key = None if manifest is None else default_index(manifest, space)
    return None if manifest is None or key is None else build_settings_of(manifest.indexes[key], gpus)
