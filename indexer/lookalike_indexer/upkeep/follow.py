"""Sync run of a collection with its source: embed, delete, and extend derived data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import IMPORTED
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import Check, EmbedReport, run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.sync import Changes, Sync
from lookalike_indexer.upkeep.growing import Grown, grow


@dataclass(frozen=True)
class SyncResult:
    """The result of a run: the changes of the source, the report of each model, and the extended entries."""

    changes: Changes
    embedded: list[EmbedReport]
    grown: Grown


def embed_all(
    storage: Storage,
    draft: Manifest | None,
    settings: EmbedSettings,
    sync: Sync,
    progress: Progress,
    check: Check = lambda space, images, dim: None,
    machines: Machines | None = None,
) -> tuple[Manifest, list[EmbedReport]]:
    """Follow the source with the model of the settings, then with every other model of the collection.

    Returns the completed, unpublished draft, and a report for each model. Errors: see run_embed.
    """
    before = [] if draft is None else [name for name, entry in draft.models.items() if entry.spec.arch != IMPORTED]
    draft, report = run_embed(storage, draft, settings, progress, check, sync, machines)
    reports = [report]
    for name in sorted(set(before) - {report.model}):
        of_it = dataclasses.replace(
            settings, name=name, model="", weights="", preprocess="", class_names="", layers=(), source_moved=False
        )
        draft, report = run_embed(storage, draft, of_it, progress, sync=sync, machines=machines)
        reports.append(report)
    return draft, reports


def follow(
    storage: Storage,
    draft: Manifest,
    settings: EmbedSettings,
    sync: Sync,
    progress: Progress,
    gpus: tuple[int, ...],
    machines: Machines | None = None,
) -> tuple[Manifest, SyncResult]:
    """Return the completed, unpublished draft for the present source; clusterings and indexes are extended.

    The caller holds the collection's lock. Raise UsageError if more images are missing than may be deleted; then
    nothing changes. Further errors: see run_embed, run_cluster and run_build.
    """
    draft, reports = embed_all(storage, draft, settings, sync, progress, machines=machines)
    draft, grown = grow(storage, draft, progress, gpus)
    return draft, SyncResult(reports[0].changes or Changes(), reports, grown)
