"""Settings that a run takes from the collection if its options leave them open."""

from __future__ import annotations

import dataclasses

from lookalike_indexer.collection.checkpoint_names import is_checkpoint
from lookalike_indexer.collection.limits import DEFAULT_LIMITS
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import IMPORTED, WeightsSpec
from lookalike_indexer.embedding.settings import DEFAULT_MODEL, DEFAULT_WEIGHTS, EmbedSettings, alias_of
from lookalike_indexer.errors import MismatchError, UsageError


def resolve_defaults(settings: EmbedSettings, draft: Manifest | None) -> EmbedSettings:
    """Return the settings with a model, its name in the collection, weights, and limits for images.

    `draft` is the newest generation, or None. A model of the collection keeps its weights. A collection with one model
    continues with it. A collection keeps its limits. Complete settings are returned unchanged. Raise UsageError if the
    collection has several models, and none is named. Raise MismatchError if the name belongs to another model.
    """
    alias = settings.name or alias_of(settings.model) or _only_model(draft) or DEFAULT_MODEL
    known = draft.models.get(alias) if draft else None
    if known is None:
        model, weights = settings.model or DEFAULT_MODEL, settings.weights or DEFAULT_WEIGHTS
    else:
        model, weights = settings.model or known.spec.arch, settings.weights or _option(known.spec.weights)
        if model != known.spec.arch:
            raise MismatchError(
                f"The model {alias} of the collection is a {known.spec.arch}, not a {model}; leave --model out, or "
                "give this one another --name."
            )
    limits = draft.limits if draft else DEFAULT_LIMITS
    return dataclasses.replace(
        settings,
        name=alias,
        model=model,
        weights=weights,
        max_image_bytes=settings.max_image_bytes or limits.max_bytes,
        max_pixels=settings.max_pixels or limits.max_pixels,
    )


def _only_model(draft: Manifest | None) -> str:
    """Return the collection's model, "" if it has none. Checkpoints count only if there are no other models."""
    names = sorted(draft.models) if draft else []
    # The unknown network of imported vectors cannot embed images.
    names = [name for name in names if draft is None or draft.models[name].spec.arch != IMPORTED]
    names = [name for name in names if not is_checkpoint(name)] or names
    if len(names) > 1:
        raise UsageError(f"The collection has the models {', '.join(names)}; choose the one to extend with --name.")
    return names[0] if names else ""


def _option(weights: WeightsSpec) -> str:
    """Return weights in the form of the option --weights."""
    return weights.name if weights.kind == "file" else str(weights)
