"""Sentences that qualify any result in a space."""

from __future__ import annotations

from collections.abc import Iterable

from lookalike_indexer.collection.current import coverage_notes
from lookalike_indexer.experiments.view import View


def untrained_notes(view: View, spaces: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence about the models of some spaces with random weights; none if all are trained."""
    manifest = view.reader.manifest
    models = sorted({manifest.spaces[space].model for space in spaces})
    random = [model for model in models if not manifest.models[model].spec.weights.pretrained]
    if not random:
        return ()
    return (
        f"UNTRAINED weights: {', '.join(random)}; what lies together there means nothing beyond color and texture.",
    )


def partial_notes(view: View, clusterings: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence for each of some clusterings that lacks images of its space; none if all are complete."""
    entries = [view.reader.clustering(name) for name in dict.fromkeys(clusterings)]
    return coverage_notes(view.reader.manifest, entries, view.reader.storage.location)
