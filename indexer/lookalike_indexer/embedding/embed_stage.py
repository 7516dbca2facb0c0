"""Embedding stage: lists new images, embeds the missing ones, and reports the result."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.manifest import Manifest, SourceEntry
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import deleted_ids, with_tombstones
from lookalike_indexer.embedding.assemble import assemble
from lookalike_indexer.embedding.classes import kind_of
from lookalike_indexer.embedding.defaults import resolve_defaults
from lookalike_indexer.embedding.distributor import Distributor, InProcess, Job
from lookalike_indexer.embedding.inventory import Inventory, PartFiles
from lookalike_indexer.embedding.over_machines import OverMachines, check_machines, elsewhere
from lookalike_indexer.embedding.part_store import PartStore, Written
from lookalike_indexer.embedding.plan import ModelPlan
from lookalike_indexer.embedding.processes import Processes
from lookalike_indexer.embedding.relabel import relabel, relabel_in_place
from lookalike_indexer.embedding.resolve import Resolved, check_options, load, nothing_readable, resolve
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Bar, Progress
from lookalike_indexer.sources.labels import Labels
from lookalike_indexer.sources.listing import ListingReport, check_same_source, require_pictures, update_listing
from lookalike_indexer.sources.open import open_source
from lookalike_indexer.sources.relocate import relocate
from lookalike_indexer.sources.row import Source
from lookalike_indexer.sources.sync import Changes, Sync

# The number of images whose bytes are compared when the source has moved.
_SAMPLE = 256


@dataclass(frozen=True)
class EmbedReport:
    """The result of an embedding run.

    `class_names` is the kind of the model's class names: "imagenet", "own" (names), "numbers", or "" without a
    classifier. `resize` and `crop` are those of its transforms, in pixels.

    `new` images were listed for the first time; this run has embedded `embedded` ones and rejected `rejected` ones.
    `skipped` ones were embedded before, or rejected as damaged and have not changed. `retried` ones were rejected
    before; `recovered` of those were embedded now. `gone` and `changed` images of the source, `excluded` ones, which
    now match an exclusion pattern, and `unreachable` ones, which are below its `unreadable_folders`, keep their
    embeddings. `renamed` ones have another key, `relabelled` ones another label than before. `without_label` new images
    have no label although there is a labels file; `unknown_labels` of its keys match no image. `kept_out` images of the
    source stay deleted. `changes` are the counts of a sync run. `left_out` counts files of the source that are not
    images, by reason. `again` are models that lost embeddings of images whose table was damaged: they have to be
    embedded again. `seconds` is the time of embedding only; `images_per_second` is 0 if nothing was embedded.
    """

    model: str
    weights: str
    pretrained: bool
    class_names: str
    resize: int
    crop: int
    spaces: list[str]
    images: int
    new: int
    embedded: int
    skipped: int
    rejected: int
    retried: int
    recovered: int
    gone: int
    changed: int
    renamed: int
    relabelled: int
    without_label: int
    unknown_labels: int
    left_out: dict[str, int]
    excluded: int
    unreachable: int
    unreadable_folders: list[str]
    kept_out: int
    changes: Changes | None
    again: list[str]
    seconds: float
    images_per_second: float


# Takes a space's name, the maximum number of its images, and its dimension.
Check = Callable[[str, int, int], None]


def _pass(space: str, images: int, dim: int) -> None:
    """Accept everything: no later stage follows."""


@dataclass
class _Tally:
    embedded: int = 0
    rejected: int = 0
    retried: int = 0
    recovered: int = 0


def run_embed(
    storage: Storage,
    draft: Manifest | None,
    settings: EmbedSettings,
    progress: Progress,
    check: Check = _pass,
    sync: Sync | None = None,
    machines: Machines | None = None,
) -> tuple[Manifest, EmbedReport]:
    """Embed new images; return the completed, unpublished draft of the next generation and a report.

    `draft` is the newest generation, or None. The caller holds the collection's lock. A part whose files are complete
    is not embedded again, whether they were published or left by a killed run. Images that were rejected for a reason
    that may pass are tried again. Nothing is written until the source, the model and its weights are validated. `check`
    is called before anything is embedded, and may reject a later stage. With `sync` the collection gets the source's
    present images. With `machines` the machines of a cluster embed. Raise MismatchError for another source, or a name
    with another meaning.
    """
    settings = resolve_defaults(settings, draft)
    if machines is not None:
        settings = elsewhere(settings, machines)
    check_options(settings)
    draft, source, labels = _opened(storage, draft, settings, progress)
    if machines is not None:
        check_machines(machines, storage, source.entry.uri)
    if draft is None:
        # Check before weights are downloaded.
        require_pictures(source)
    loaded = load(draft, settings)
    if loaded.note:
        progress.announce(loaded.note)
    listing = update_listing(storage, source, labels, settings.part_size, progress, draft, sync)
    pool = PoolSettings(settings.workers_per_device, settings.decode_timeout, settings.limits)
    resolved = resolve(storage, draft, settings, loaded, pool, source.entry, listing.parts)
    for space in resolved.plan.spaces:
        check(space.name, listing.rows, space.dim)
    deleted = np.union1d(deleted_ids(storage, draft) if draft else [], [*listing.gone_ids, *listing.replaced_ids])
    inventory = Inventory(
        storage, _refreshed(storage, draft, listing), resolved.plan, listing.parts, deleted.astype(np.int64)
    )
    parts = _Parts(inventory, source.entry)
    skipped = listing.rows - sum(parts.missing.values())
    began = time.perf_counter()
    with progress.stage("Embedding", listing.rows, "images", skipped) as bar:
        tally = _embed(_distributor(settings, resolved, machines), pool, parts, bar)
    seconds = time.perf_counter() - began
    manifest, again = assemble(parts.inventory, parts.files, parts.written, resolved, listing, source.entry)
    # The widest limits of all runs: later decoding must accept every image that any run accepted.
    limits = draft.limits.widened(settings.limits) if draft else settings.limits
    manifest = dataclasses.replace(manifest, limits=limits)
    manifest = with_tombstones(storage, manifest, listing.gone_ids, "gone")
    manifest = with_tombstones(storage, manifest, listing.replaced_ids, "replaced")
    images = _count(storage, manifest)
    if not images:
        raise nothing_readable(_first_reject(storage, manifest, resolved.plan), source.entry)
    plan = resolved.plan
    return manifest, EmbedReport(
        model=plan.alias,
        weights=str(plan.spec.weights),
        pretrained=plan.spec.weights.pretrained,
        class_names=kind_of(plan.class_names),
        resize=plan.spec.preprocessing.resize,
        crop=plan.spec.preprocessing.crop,
        spaces=[space.name for space in plan.spaces],
        images=images,
        new=listing.new,
        embedded=tally.embedded,
        skipped=skipped,
        rejected=tally.rejected,
        retried=tally.retried,
        recovered=tally.recovered,
        gone=listing.gone,
        changed=listing.changed,
        renamed=listing.renamed,
        relabelled=listing.relabelled,
        without_label=listing.without_label,
        unknown_labels=listing.unknown_labels,
        left_out=listing.left_out,
        excluded=listing.excluded,
        unreachable=listing.unreachable,
        unreadable_folders=listing.unreadable_folders,
        kept_out=listing.kept_out,
        changes=listing.changes,
        again=again,
        seconds=seconds,
        images_per_second=tally.embedded / seconds if tally.embedded else 0.0,
    )


def preview_changes(
    storage: Storage, draft: Manifest, settings: EmbedSettings, sync: Sync, progress: Progress
) -> Changes:
    """Return the changes that a run with `sync` would make, without making any; source errors as in `run_embed`."""
    settings = resolve_defaults(settings, draft)
    draft_now, source, labels = _opened(storage, draft, settings, progress)
    only_look = dataclasses.replace(sync, dry_run=True)
    found = update_listing(storage, source, labels, settings.part_size, progress, draft_now, only_look).changes
    return found or Changes()


def _opened(
    storage: Storage, draft: Manifest | None, settings: EmbedSettings, progress: Progress
) -> tuple[Manifest | None, Source, Labels | None]:
    """Return the source and its labels file, and the draft, which follows a source that has moved."""
    try:
        source = open_source(settings.source, settings.exclude or (draft.source.exclude if draft else ()))
    except NotFoundError as error:
        if draft and draft.source.uri == str(Path(settings.source).expanduser().resolve()):
            raise NotFoundError(
                f"The source of the collection {storage.location} is not there: the {draft.source.kind} "
                f"{draft.source.uri}. Mount it, or, if it has moved, say where: "
                f"{command('relocate', storage.location, 'FOLDER')}"
            ) from error
        raise
    if draft and settings.source_moved:
        draft, _ = relocate(storage, draft, source, _SAMPLE, progress)
    if draft:
        check_same_source(storage, draft.source, source.entry)
    return draft, source, Labels(Path(settings.labels), source.entry) if settings.labels else None


def _count(storage: Storage, manifest: Manifest) -> int:
    """Return the number of images that are not deleted."""
    if not manifest.tombstones:
        return manifest.rows(manifest.images)
    return sum(map(len, CollectionReader(storage, manifest).stream_images(["id"])))


class _Parts:
    """The parts of a run: the files of finished parts, and the number of missing images of the others."""

    def __init__(self, inventory: Inventory, source: SourceEntry) -> None:
        self.inventory, self.source = inventory, source
        self.files: dict[int, PartFiles] = {}
        self.missing: dict[str, int] = {}
        self.written: set[str] = set()
        store = PartStore(inventory.storage, inventory.draft, inventory.plan)
        published = generations.PublishedFiles(inventory.storage)
        for listing in inventory.listing:
            left = inventory.leftover_images(listing)
            if left and left not in published:
                relabel_in_place(inventory.storage, left, listing)
            files = inventory.files(listing)
            todo = inventory.todo(files)
            finished = store.finished(todo) if todo else files
            if finished is None and todo is not None:
                self.missing[listing] = len(todo.rows)
            else:
                self.files[files.number] = finished or files

    def add(self, written: Written) -> None:
        """Record a part that was embedded."""
        self.files[written.files.number] = written.files
        self.written.update(written.paths)


def _distributor(settings: EmbedSettings, resolved: Resolved, machines: Machines | None) -> Distributor:
    if machines is not None:
        return OverMachines(machines, resolved.module, settings)
    if len(settings.devices) > 1:
        return Processes(settings.devices)
    return InProcess(settings.devices[0], resolved.network)


def _embed(distributor: Distributor, pool: PoolSettings, parts: _Parts, bar: Bar) -> _Tally:
    tally = _Tally()
    if not parts.missing:
        return tally
    job = Job(parts.inventory, parts.source, pool)
    for written in distributor.embed(job, list(parts.missing), bar.advance):
        parts.add(written)
        counts = written.counts
        tally.embedded += counts.embedded
        tally.rejected += counts.rejected
        tally.retried += counts.retried
        tally.recovered += counts.recovered
        if tally.rejected:
            bar.note(f"{tally.rejected} rejected")
    return tally


def _refreshed(storage: Storage, draft: Manifest | None, listing: ListingReport) -> Manifest | None:
    """Return the draft with the images' present labels and keys in the listing."""
    if draft is None or not listing.revised:
        return draft
    listed = {layout.part_number(path): path for path in listing.parts}
    there = storage.sizes(layout.IMAGES)
    images, files = [], dict(draft.files)
    for path in draft.images:
        number = layout.part_number(path)
        if number in listing.revised and path.rsplit("/", 1)[1] in there:
            path = relabel(storage, path, listed[number])
            if path not in files:
                files[path] = generations.measure(storage, path)
        images.append(path)
    return dataclasses.replace(draft, images=images, files=files)


def _first_reject(storage: Storage, manifest: Manifest, plan: ModelPlan) -> tuple[str, str] | None:
    for path in manifest.models[plan.alias].rejects:
        for row in read_part(storage, path, ["key", "reason"]).to_pylist():
            return row["key"], row["reason"]
    return None
