"""Bringing a collection to what its source is now: embed, delete, and extend what was made of the images."""

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
class Followed:
    """What a run did: the changes that the source had, what each model embedded, and what was extended."""

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
    """Follow the source with the model of the settings, then with every other one of the collection.

    Returns the completed draft, which is not published, and a report for each model. Errors: see run_embed.
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
) -> tuple[Manifest, Followed]:
    """The completed draft of what the source is now, which is not published; clusterings and indexes are extended.

    The caller holds the collection's lock. UsageError: more images are gone than may be deleted; nothing was changed
    then. Errors besides: see run_embed, run_cluster and run_build.
    """
    draft, reports = embed_all(storage, draft, settings, sync, progress, machines=machines)
    draft, grown = grow(storage, draft, progress, gpus)
    return draft, Followed(reports[0].changes or Changes(), reports, grown)
