"""The embedding stage: list what is new, embed what is missing, and say what there is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.manifest import FORMAT, Manifest, ModelEntry, SourceEntry, SpaceEntry
from lookalike_indexer.collection.parts import open_part, read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.defaults import settled
from lookalike_indexer.embedding.distributor import distribute
from lookalike_indexer.embedding.plan import ModelPlan
from lookalike_indexer.embedding.resolve import Resolved, check_options, nothing_readable, resolve
from lookalike_indexer.embedding.runner import run_parts
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.embedding.store import PartStore, later_rejects
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.progress import Bar, Progress
from lookalike_indexer.sources.labels import Labels
from lookalike_indexer.sources.listing import ListingReport, check_same_source, update_listing
from lookalike_indexer.sources.open import open_source


@dataclass(frozen=True)
class EmbedReport:
    """What an embedding run did.

    `new` images were listed for the first time; `embedded` ones embedded and
    `rejected` ones refused by this run, `skipped` ones had been done before.
    `gone` and `changed` images of the source are kept as they were embedded.
    `without_label` new images have no label in the labels file, and
    `unknown_labels` of its keys name no image. `seconds` is the time of
    embedding alone, `images_per_second` is 0 when nothing was embedded.
    """

    model: str
    weights: str
    pretrained: bool
    spaces: list[str]
    images: int
    new: int
    embedded: int
    skipped: int
    rejected: int
    gone: int
    changed: int
    without_label: int
    unknown_labels: int
    seconds: float
    images_per_second: float


# Takes a space's name, the most images that it will have, and its dimension.
Check = Callable[[str, int, int], None]


def _pass(space: str, images: int, dim: int) -> None:
    """Nothing comes later."""


@dataclass
class _Tally:
    embedded: int = 0
    rejected: int = 0


def run_embed(
    storage: Storage,
    draft: Manifest | None,
    settings: EmbedSettings,
    progress: Progress,
    check: Check = _pass,
) -> tuple[Manifest, EmbedReport]:
    """Embed what is new; returns the completed draft of the next generation, which is not published.

    `draft` is the newest generation, or None. The caller holds the
    collection's lock. A part whose files are all there is not embedded again,
    whether they were published or left by a run that was killed. `check` is
    called before anything is embedded, and may refuse what comes later.
    MismatchError: another source, or a name that stands for something else.
    """
    settings = settled(settings, draft)
    check_options(settings)
    source = open_source(settings.source, settings.exclude or (draft.source.exclude if draft else ()))
    if draft:
        check_same_source(storage, draft.source, source.entry)
    labels = Labels(Path(settings.labels), source.entry) if settings.labels else None
    listing = update_listing(storage, source, labels, settings.part_size, progress)
    pool = PoolSettings(settings.workers_per_device, settings.decode_timeout, settings.limits)
    resolved = resolve(storage, draft, settings, pool, listing.parts)
    for space in resolved.plan.spaces:
        check(space.name, listing.rows, space.dim)
    store = PartStore(storage, resolved.plan)
    missing = [number for number in range(len(listing.parts)) if store.missing(number)]
    rows = {number: _rows(storage, layout.source(number)) for number in missing}
    skipped = listing.rows - sum(rows.values())
    began = time.perf_counter()
    with progress.stage("Embedding", listing.rows, "images", skipped) as bar:
        tally = _embed(storage, settings, pool, resolved, missing, bar)
    seconds = time.perf_counter() - began
    manifest = _manifest(storage, draft, resolved, listing, source.entry)
    # The widest of all runs: what any of them took must never be too large for what decodes it later.
    limits = draft.limits.widened(settings.limits) if draft else settings.limits
    manifest = dataclasses.replace(manifest, limits=limits)
    if not sum(manifest.rows([path]) for path in manifest.images):
        raise nothing_readable(_first_reject(storage, resolved.plan))
    plan = resolved.plan
    return manifest, EmbedReport(
        model=plan.alias,
        weights=str(plan.spec.weights),
        pretrained=plan.spec.weights.pretrained,
        spaces=[space.name for space in plan.spaces],
        images=manifest.rows(manifest.images),
        new=listing.new,
        embedded=tally.embedded,
        skipped=skipped,
        rejected=tally.rejected,
        gone=listing.gone,
        changed=listing.changed,
        without_label=listing.without_label,
        unknown_labels=listing.unknown_labels,
        seconds=seconds,
        images_per_second=tally.embedded / seconds if tally.embedded else 0.0,
    )


def _embed(
    storage: Storage, settings: EmbedSettings, pool: PoolSettings, resolved: Resolved, missing: list[int], bar: Bar
) -> _Tally:
    tally = _Tally()
    if not missing:
        return tally
    if len(settings.devices) == 1:
        done = run_parts(storage, resolved.plan, pool, settings.devices[0], missing, bar.advance, resolved.network)
    else:
        done = distribute(storage, resolved.plan, pool, settings.devices, missing, bar.advance)
    for _, counts in done:
        tally.embedded += counts.embedded
        tally.rejected += counts.rejected
        if tally.rejected:
            bar.note(f"{tally.rejected} rejected")
    return tally


def _manifest(
    storage: Storage, draft: Manifest | None, resolved: Resolved, listing: ListingReport, source: SourceEntry
) -> Manifest:
    plan, count = resolved.plan, len(listing.parts)
    base = draft or Manifest(format=FORMAT, generation=0, source=source, files={}, listing=[], images=[])
    models = {**base.models, plan.alias: _model_entry(storage, base, resolved, count)}
    spaces = {**base.spaces, **_space_entries(storage, plan, count)}
    return generations.complete(
        storage,
        dataclasses.replace(
            base,
            listing=listing.parts,
            images=[layout.images(part) for part in range(count)],
            models=models,
            spaces=spaces,
            default_space=base.default_space or plan.spaces[0].name,
        ),
    )


def _model_entry(storage: Storage, base: Manifest, resolved: Resolved, count: int) -> ModelEntry:
    plan = resolved.plan
    known = [name for name, space in base.spaces.items() if space.model == plan.alias]
    spaces = dict.fromkeys([*known, *(space.name for space in plan.spaces)])
    rejects = [layout.rejects(plan.alias, part) for part in range(count)]
    later = [layout.rejects(later_rejects(space), part) for space in spaces for part in range(count)]
    return ModelEntry(
        spec=plan.spec,
        compute=plan.arithmetic,
        predictions=[layout.predictions(plan.alias, part) for part in range(count) if plan.spec.classifies],
        rejects=rejects + [path for path in later if storage.exists(path)],
        files=resolved.files,
    )


def _space_entries(storage: Storage, plan: ModelPlan, count: int) -> dict[str, SpaceEntry]:
    entries = {}
    for space in plan.spaces:
        parts = [layout.embeddings(space.name, part) for part in range(count)]
        entries[space.name] = SpaceEntry(
            model=plan.alias,
            layer=space.node.layer,
            pooling=space.node.pooling,
            dim=space.dim,
            dtype=space.dtype,
            fingerprint=space.fingerprint,
            rows=sum(_rows(storage, path) for path in parts),
            parts=parts,
        )
    return entries


def _rows(storage: Storage, path: str) -> int:
    with open_part(storage, path) as part:
        rows: int = part.metadata.num_rows
        return rows


def _first_reject(storage: Storage, plan: ModelPlan) -> tuple[str, str] | None:
    rejects = read_part(storage, layout.rejects(plan.alias, 0), ["key", "reason"]).to_pylist()
    return (rejects[0]["key"], rejects[0]["reason"]) if rejects else None
