"""Assembly of the next generation's draft from the files of all parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.default_space import with_default_space
from lookalike_indexer.collection.manifest import FORMAT, Manifest, ModelEntry, SourceEntry, SpaceEntry
from lookalike_indexer.embedding.inventory import Inventory, PartFiles
from lookalike_indexer.embedding.resolve import Resolved
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.sources.listing import ListingReport


def assemble(
    inventory: Inventory,
    files: Mapping[int, PartFiles],
    written: Collection[str],
    resolved: Resolved,
    listing: ListingReport,
    source: SourceEntry,
) -> tuple[Manifest, list[str]]:
    """Return the completed draft, and the models that lost embeddings of some parts.

    `files` are those of each part by its number; those that this run has `written` are measured again. If the images of
    a part had to be recreated, the results of other models for it are left out: they may come from other bytes.
    """
    plan, storage = resolved.plan, inventory.storage
    base = inventory.draft or Manifest(format=FORMAT, generation=0, source=source, files={}, listing=[], images=[])
    parts = [files[layout.part_number(path)] for path in listing.parts]
    lost = _lost(inventory, parts)
    base, again = _without(base, plan.alias, lost)
    draft = dataclasses.replace(
        base,
        # A run without exclusion patterns uses those of the collection; a run with patterns replaces them.
        source=dataclasses.replace(base.source, exclude=source.exclude),
        listing=[part.listing for part in parts],
        images=[_there(part.images) for part in parts],
        models={
            **base.models,
            plan.alias: ModelEntry(
                spec=plan.spec,
                compute=plan.arithmetic
                if written or plan.alias not in base.models
                else base.models[plan.alias].compute,
                predictions=[_there(part.predictions) for part in parts if plan.spec.classifies],
                rejects=[path for part in parts for path in part.rejects],
                files=resolved.files,
            ),
        },
        spaces={
            **base.spaces,
            **{
                space.name: SpaceEntry(
                    model=plan.alias,
                    layer=space.node.layer,
                    pooling=space.node.pooling,
                    dim=space.dim,
                    dtype=space.dtype,
                    fingerprint=space.fingerprint,
                    rows=0,
                    parts=[part.embeddings[space.name] for part in parts],
                )
                for space in plan.spaces
            },
        },
        default_space=base.default_space or plan.spaces[0].name,
        left_out=listing.left_out,
    )
    completed = generations.complete(storage, draft, written)
    counted = {
        name: dataclasses.replace(entry, rows=completed.rows(entry.parts)) for name, entry in completed.spaces.items()
    }
    return with_default_space(dataclasses.replace(completed, spaces=counted)), again


def _lost(inventory: Inventory, parts: list[PartFiles]) -> set[int]:
    """Return the numbers of the parts whose images the draft lists, but had to be recreated."""
    draft = inventory.draft
    named = {layout.part_number(path): path for path in draft.images} if draft else {}
    return {part.number for part in parts if part.number in named and not inventory.is_there(named[part.number])}


def _without(base: Manifest, alias: str, lost: set[int]) -> tuple[Manifest, list[str]]:
    """Return the manifest without the results of other models than `alias` for some parts, and those models."""
    if not lost:
        return base, []

    def kept(paths: list[str]) -> list[str]:
        return [path for path in paths if layout.part_number(path) not in lost]

    models = {
        name: entry
        if name == alias
        else dataclasses.replace(entry, predictions=kept(entry.predictions), rejects=kept(entry.rejects))
        for name, entry in base.models.items()
    }
    spaces = {
        name: entry if entry.model == alias else dataclasses.replace(entry, parts=kept(entry.parts))
        for name, entry in base.spaces.items()
    }
    return dataclasses.replace(base, models=models, spaces=spaces), sorted(set(models) - {alias})


def _there(path: str | None) -> str:
    if path is None:
        raise IndexerError("A part of the collection was not written; run the command again.")
    return path
